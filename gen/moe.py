"""Goldens of whole MoE blocks from first principles: forward and all gradients in float64, every intermediate rounded where
a device rounds it. Writes golden/moe.tsv: the first 16 digits of the SHA-256 of each intermediate's bytes.

Inputs are odd integers on a grid so narrow that logits are exact in float32, so which experts are chosen is no matter of
rounding. What follows is float64 with + - * / alone, in a fixed order and no fused operation: the same bits everywhere.
exp is a series. `harness/block_steps.c` computes the same, row by row, and must get these digests.

    python gen/moe.py [--check]
"""

import argparse
import hashlib
import os
import re
import sys

import numpy as np

import counter_hash

GOLDEN_DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
DTYPES = {"bf16": (8, -126), "fp16": (11, -14)}  # bits of a significand, smallest normal exponent


# --- data ---


def parse(key):
    """The numbers in a key such as qwen3-norm_topk_prob-topk2-E8-T61-H72-I40."""
    p = {name: int(value) for name, value in re.findall(r"-(topk|E|T|H|I)(\d+)", key)}
    p["llama4"] = key.startswith("llama4")
    p["ties"] = "-ties-" in key
    p["norm"] = "norm_topk_prob" in key
    p["key"] = key
    return p


def half_log2(value):
    return (value.bit_length() - 1) // 2


def draw(p, tensor, rows, cols):
    bits = max(b for b in range(1, 9) if p["H"] * (2**b - 1) ** 2 < 2**24)
    if p["ties"] and tensor in ("x", "gate"):
        bits = 1
    scale = 1 - bits - (0 if tensor in ("x", "dy") else half_log2(cols))
    seed = counter_hash.tensor_seed(p["key"], "exact", tensor)
    return counter_hash.integers(seed, bits, scale, 0, rows * cols).reshape(rows, cols).astype(np.float64)


# --- arithmetic ---


def rounder(dtype):
    """Rounds float64 to the dtype's values, to nearest even, once."""
    significand, smallest = DTYPES[dtype]

    def rounded(x):
        x = np.asarray(x, np.float64)
        _, exponent = np.frexp(x)  # x = m 2^exponent, 1/2 <= |m| < 1
        step = np.ldexp(1.0, np.maximum(exponent, smallest + 1) - significand)
        return np.rint(x / step) * step

    return rounded


def bits_of(values, dtype):
    """16-bit patterns of numbers that have been rounded to the dtype."""
    if dtype == "bf16":
        return (values.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype("<u2")
    return values.astype(np.float16).view(np.uint16).astype("<u2")


def product(a, b):
    """a (m, k) times b (k, n), summed over k in ascending order."""
    out = np.zeros((a.shape[0], b.shape[1]))
    for k in range(a.shape[1]):
        out += a[:, k, None] * b[None, k, :]
    return out


def exp(x):
    x = np.clip(x, -700.0, 700.0)
    scaled = x * float.fromhex("0x1.71547652b82fep+0")
    whole = np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5))
    r = x - whole * float.fromhex("0x1.62e42fee00000p-1") - whole * float.fromhex("0x1.a39ef35793c76p-33")
    total = np.ones_like(x)
    for i in range(14, 0, -1):
        total = 1.0 + total * r / i
    return np.ldexp(total, whole.astype(np.int64))


def sigmoid(x):
    return 1.0 / (1.0 + exp(-x))


# --- the block ---


def by_expert(rows, sizes, function):
    """function(expert, its rows), stacked."""
    parts, begin = [], 0
    for expert, size in enumerate(sizes):
        parts.append(function(expert, rows[begin : begin + size]))
        begin += size
    return np.concatenate(parts)


def mlp_forward(rows, sizes, gate_up, down, rounded):
    inner = down.shape[2]
    first = rounded(by_expert(rows, sizes, lambda e, a: product(a, gate_up[e].T)))
    gate, up = first[:, :inner], first[:, inner:]
    activation = rounded(gate * sigmoid(gate) * up)
    second = rounded(by_expert(activation, sizes, lambda e, a: product(a, down[e].T)))
    return first, activation, second


def activation_backward(first, d_activation, weights, rounded):
    inner = first.shape[1] // 2
    gate, up = first[:, :inner], first[:, inner:]
    s = sigmoid(gate)
    silu = gate * s
    weighted = weights * d_activation
    return rounded(np.concatenate([weighted * up * (s + silu * (1.0 - s)), weighted * silu], axis=1))


def expert_gradient(dy, x, sizes, rounded):
    """(experts * N, K): of each expert's rows, dy^T x."""
    parts, begin = [], 0
    for size in sizes:
        parts.append(product(dy[begin : begin + size].T, x[begin : begin + size]))
        begin += size
    return rounded(np.concatenate(parts))


def block(p, dtype):
    """All intermediates by name, in expert order where rows are slots."""
    rounded = rounder(dtype)
    experts, topk, tokens, hidden, inner = (p[name] for name in ("E", "topk", "T", "H", "I"))
    shared = inner if p["llama4"] else 0
    x, dy = draw(p, "x", tokens, hidden), draw(p, "dy", tokens, hidden)
    gate = draw(p, "gate", experts, hidden)
    gate_up = draw(p, "gate_up", experts * 2 * inner, hidden).reshape(experts, 2 * inner, hidden)
    down = draw(p, "down", experts * hidden, inner).reshape(experts, hidden, inner)
    out = {}

    # routing: larger logits first, of equal ones the lower expert
    logits = product(x, gate.T)
    assert (logits.astype(np.float32) == logits).all()
    ids = np.argsort(-logits, axis=1, kind="stable")[:, :topk]
    chosen = np.take_along_axis(logits, ids, axis=1)
    if p["llama4"]:
        score, total = sigmoid(chosen), 1.0
        all_scores = None
    else:
        score = exp(chosen - chosen[:, :1])
        all_scores = exp(logits - chosen[:, :1])
        summed = score if p["norm"] else all_scores
        total = np.zeros((tokens, 1))
        for e in range(summed.shape[1]):
            total += summed[:, e, None]
    weights = rounded(score / total)
    slots = np.argsort(ids.reshape(-1), kind="stable")
    sizes = np.bincount(ids.reshape(-1), minlength=experts)
    token_of = slots // topk
    weight_of = weights.reshape(-1)[slots][:, None]
    position = np.empty_like(slots)
    position[slots] = np.arange(len(slots))
    out["logits"] = logits.astype("<f4")
    out["topk_ids"] = ids.astype("<i4")
    out["topk_weights"] = weights.astype("<f4")
    out["gather_indices"] = slots.astype("<i4")

    # forward
    x_expert = rounded(weight_of * x[token_of]) if p["llama4"] else x[token_of]
    first, activation, second = mlp_forward(x_expert, sizes, gate_up, down, rounded)
    y = np.zeros((tokens, hidden))
    for j in range(topk):
        rows = second[position.reshape(tokens, topk)[:, j]]
        y += rows if p["llama4"] else weights[:, j, None] * rows
    if shared:
        shared_gate_up = draw(p, "shared_gate_up", 2 * shared, hidden)[None]
        shared_down = draw(p, "shared_down", hidden, shared)[None]
        shared_first, shared_activation, shared_second = mlp_forward(
            x, [tokens], shared_gate_up, shared_down, rounded
        )
        y += shared_second
    y = rounded(y)

    # backward
    dy_expert = dy[token_of]
    d_activation = rounded(by_expert(dy_expert, sizes, lambda e, a: product(a, down[e])))
    weighted = activation if p["llama4"] else rounded(weight_of * activation) + 0.0  # -0 is 0
    d_first = activation_backward(first, d_activation, 1.0 if p["llama4"] else weight_of, rounded)
    d_down = expert_gradient(dy_expert, weighted, sizes, rounded)
    dx_rows = rounded(by_expert(d_first, sizes, lambda e, a: product(a, gate_up[e])))
    d_gate_up = expert_gradient(d_first, x_expert, sizes, rounded)
    pairs = (dx_rows, x[token_of]) if p["llama4"] else (d_activation, activation)
    dot = np.zeros(len(slots))
    for k in range(pairs[0].shape[1]):
        dot += pairs[0][:, k] * pairs[1][:, k]
    d_weights = dot[position].reshape(tokens, topk).astype(np.float32).astype(np.float64)
    d_logits = np.zeros((tokens, -(-experts // 8) * 8))
    if p["llama4"]:
        np.put_along_axis(d_logits, ids, d_weights * score * (1.0 - score), axis=1)
    else:
        through = np.zeros((tokens, 1))
        for j in range(topk):
            through += (score / total)[:, j, None] * d_weights[:, j, None]
        if p["norm"]:
            np.put_along_axis(d_logits, ids, score / total * (d_weights - through), axis=1)
        else:
            own = np.zeros((tokens, experts))
            np.put_along_axis(own, ids, d_weights, axis=1)
            d_logits[:, :experts] = all_scores / total * (own - through)
    d_logits = rounded(d_logits)
    dx_router = rounded(product(d_logits[:, :experts], gate))
    d_gate = rounded(product(d_logits[:, :experts].T, x))
    dx = np.zeros((tokens, hidden))
    for j in range(topk):
        rows = dx_rows[position.reshape(tokens, topk)[:, j]]
        dx += weights[:, j, None] * rows if p["llama4"] else rows
    dx += dx_router
    halves = {
        "x_expert": x_expert,
        "first": first,
        "activation": activation,
        "second": second,
        "y": y,
        "dy_expert": dy_expert,
        "d_activation": d_activation,
        "d_first": d_first,
        "d_down": d_down,
        "dx_rows": dx_rows,
        "d_gate_up": d_gate_up,
        "d_logits": d_logits,
        "dx_router": dx_router,
        "d_gate": d_gate,
    }
    if not p["llama4"]:
        halves["weighted"] = weighted
    if shared:
        d_shared_activation = rounded(product(dy, shared_down[0]))
        d_shared_first = activation_backward(shared_first, d_shared_activation, 1.0, rounded)
        shared_dx = rounded(product(d_shared_first, shared_gate_up[0]))
        dx += shared_dx
        halves |= {
            "shared_first": shared_first,
            "shared_activation": shared_activation,
            "shared_second": shared_second,
            "shared_d_activation": d_shared_activation,
            "shared_d_first": d_shared_first,
            "d_shared_down": expert_gradient(dy, shared_activation, [tokens], rounded),
            "shared_dx": shared_dx,
            "d_shared_gate_up": expert_gradient(d_shared_first, x, [tokens], rounded),
        }
    halves["dx"] = rounded(dx)
    out["d_weights"] = d_weights.astype("<f4")
    out |= {name: bits_of(values, dtype) for name, values in halves.items()}
    return out


# --- the file ---


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def lines(keys):
    for key in keys:
        for dtype in DTYPES:
            for name, array in sorted(block(parse(key), dtype).items()):
                yield f"{key}\t{dtype}\t{name}\t{digest(array)}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with golden/moe.tsv instead of writing it")
    arguments = parser.parse_args()
    path = os.path.join(GOLDEN_DIR, "moe.tsv")
    with open(path, encoding="ascii") as file:
        old = file.read()
    header = "".join(line + "\n" for line in old.splitlines() if line.startswith("#"))
    keys = re.findall(r"^# key (\S+)$", old, re.MULTILINE)
    new = header + "".join(lines(keys))
    if arguments.check:
        if new != old:
            sys.exit("error: golden/moe.tsv differs from what gen/moe.py computes (run: python gen/moe.py)")
        return
    with open(path, "w", encoding="ascii") as file:
        file.write(new)


if __name__ == "__main__":
    main()
