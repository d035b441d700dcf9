#!/usr/bin/env python3
"""The goldens of MoE blocks beside the stock blocks of transformers: the same inputs through Qwen3MoeSparseMoeBlock and
Llama4TextMoe in float64, forward and backward by autograd; outputs and all gradients must agree but for the goldens' own
roundings. By hand, where torch and transformers are installed:

    python tests/stock/stock_blocks.py [KEY ...]
"""

import os
import re
import sys

import numpy as np
import torch

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "gen"))
import moe  # noqa: E402

# Root of the sum of squared differences, in units of u_o of the stock tensor's: a rounding or two a step, four steps.
LIMIT = 8.0
UNIT = {"bf16": 2.0**-8, "fp16": 2.0**-11}


def numbers(bits, dtype):
    if dtype == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    return bits.view(np.float16).astype(np.float64)


def tensor(array):
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float64)


def set_weights(parameter, value, transposed):
    """Some versions keep the experts' matrices transposed; the shape or, where it is square, `transposed` tells."""
    turned = tuple(parameter.shape) != tuple(value.shape) or (transposed and value.shape[1] == value.shape[2])
    with torch.no_grad():
        parameter.copy_(value.transpose(1, 2) if turned else value)
    return turned


def gradient(parameter, turned):
    return (parameter.grad.transpose(1, 2) if turned else parameter.grad).reshape(-1, parameter.shape[1 if turned else 2])


def qwen3(p):
    from transformers import Qwen3MoeConfig
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

    config = Qwen3MoeConfig(
        hidden_size=p["H"],
        moe_intermediate_size=p["I"],
        num_experts=p["E"],
        num_experts_per_tok=p["topk"],
        norm_topk_prob=p["norm"],
        hidden_act="silu",
    )
    config._experts_implementation = "eager"
    return Qwen3MoeSparseMoeBlock(config).double()


def llama4(p):
    from transformers import Llama4TextConfig
    from transformers.models.llama4.modeling_llama4 import Llama4TextMoe

    config = Llama4TextConfig(
        hidden_size=p["H"],
        intermediate_size=p["I"],
        num_local_experts=p["E"],
        num_experts_per_tok=p["topk"],
        hidden_act="silu",
    )
    return Llama4TextMoe(config).double()


def stock(p):
    """Outputs and gradients by the goldens' names, in float64."""
    experts, tokens, hidden, inner = (p[name] for name in ("E", "T", "H", "I"))
    block = llama4(p) if p["llama4"] else qwen3(p)
    x = tensor(moe.draw(p, "x", tokens, hidden))[None].requires_grad_()
    router = block.router if p["llama4"] else block.gate
    gate_up = tensor(moe.draw(p, "gate_up", experts * 2 * inner, hidden)).reshape(experts, 2 * inner, hidden)
    down = tensor(moe.draw(p, "down", experts * hidden, inner)).reshape(experts, hidden, inner)
    with torch.no_grad():
        router.weight.copy_(tensor(moe.draw(p, "gate", experts, hidden)))
    turned = [
        set_weights(block.experts.gate_up_proj, gate_up, p["llama4"]),
        set_weights(block.experts.down_proj, down, p["llama4"]),
    ]
    if p["llama4"]:
        shared_gate_up = tensor(moe.draw(p, "shared_gate_up", 2 * inner, hidden))
        shared = block.shared_expert
        with torch.no_grad():
            shared.gate_proj.weight.copy_(shared_gate_up[:inner])
            shared.up_proj.weight.copy_(shared_gate_up[inner:])
            shared.down_proj.weight.copy_(tensor(moe.draw(p, "shared_down", hidden, inner)))
    y = block(x)
    y = (y[0] if isinstance(y, tuple) else y).reshape(tokens, hidden)
    y.backward(tensor(moe.draw(p, "dy", tokens, hidden)))
    out = {
        "y": y.detach(),
        "dx": x.grad[0],
        "d_gate": router.weight.grad,
        "d_gate_up": gradient(block.experts.gate_up_proj, turned[0]),
        "d_down": gradient(block.experts.down_proj, turned[1]),
    }
    if p["llama4"]:
        out["d_shared_gate_up"] = torch.cat([shared.gate_proj.weight.grad, shared.up_proj.weight.grad])
        out["d_shared_down"] = shared.down_proj.weight.grad
    return {name: value.numpy() for name, value in out.items()}


def main():
    with open(os.path.join(ROOT, "golden", "moe.tsv"), encoding="ascii") as file:
        keys = re.findall(r"^# key (\S+)$", file.read(), re.MULTILINE)
    failures = 0
    for key in sys.argv[1:] or [key for key in keys if "-ties-" not in key]:  # torch breaks ties another way
        p = moe.parse(key)
        right = stock(p)
        for dtype, unit in UNIT.items():
            golden = moe.block(p, dtype)
            ratios = {}
            for name, value in right.items():
                got = numbers(golden[name], dtype).reshape(value.shape)
                size = np.sqrt((value**2).sum())
                # with every expert chosen and weights that are normed to 1 some gradients are zero but for rounding
                ratios[name] = np.sqrt(((got - value) ** 2).sum()) / size / unit if size > 1e-9 else 0.0
            wrong = [name for name, ratio in ratios.items() if not ratio <= LIMIT]
            failures += len(wrong)
            print(f"{key} {dtype}:", " ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))
            if wrong:
                print(f"error: {', '.join(wrong)} differ from the stock block", file=sys.stderr)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
