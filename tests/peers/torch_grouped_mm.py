#!/usr/bin/env python3
"""Times torch._grouped_mm on the 24 shapes of harness/peers.c, for `moegemm bench --peers FILE`. Optional: needs a GPU, torch
and NumPy, none of which building or testing needs.

As `moegemm bench` does: the routing of the corpus, random bf16 data, rows already permuted (no permute is counted), a cold
L2 before every launch, and rounds in which every contender is launched once, among them the copy and the product that are
the limits. dX and dW are the products that torch's autograd runs.

usage: torch_grouped_mm.py [-o FILE] [--repeat N] [--seqlen LIST] [--model LIST]
"""

import argparse
import json
import os
import statistics
import sys
import types

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "gen"))

MODELS = {"qwen3": {"E": 128, "topk": 8, "H": 2048, "I": 768}, "llama4": {"E": 16, "topk": 1, "H": 5120, "I": 8192}}
FLUSH_BYTES = 256 << 20  # twice the largest L2
COPY_BYTES = 1 << 30
SIDE = 8192  # of the product that is the limit
WARM_UPS = 2


def rows_of_experts(E, topk, T):
    """m_sizes of the corpus' uniform routing."""
    import routing

    return routing.make(types.SimpleNamespace(E=E, topk=topk, T=T, M=T * topk, dist="mult", routing=f"topk{topk}-E{E}-T{T}-mult"))[0]


def contenders_of(torch, model, gemm, T, device):
    """{op: launch}, on data of their own."""
    E, topk, H, I = (MODELS[model][key] for key in ("E", "topk", "H", "I"))
    N, K = (2 * I, H) if gemm == 1 else (H, I)
    sizes = rows_of_experts(E, topk, T)
    ends = torch.tensor(sizes.cumsum().astype("int32"), device=device)
    M = T * topk

    def random(*shape, scale=1.0):
        return torch.empty(shape, dtype=torch.bfloat16, device=device).normal_(std=scale)

    x, w, dy = random(M, K, scale=0.1), random(E, N, K, scale=0.1), random(M, N)
    return {
        "forward": lambda: torch._grouped_mm(x, w.transpose(-2, -1), offs=ends),
        "dX": lambda: torch._grouped_mm(dy, w, offs=ends),
        "dW": lambda: torch._grouped_mm(dy.transpose(-2, -1), x, offs=ends),
    }


def limits_of(torch, device):
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    a, b = (torch.empty((SIDE, SIDE), dtype=torch.bfloat16, device=device).normal_(std=0.1) for _ in range(2))
    out = torch.empty_like(a)
    return {"copy": lambda: target.copy_(source), "product": lambda: torch.mm(a, b.t(), out=out)}


def time_all(torch, launches, repeat, flush):
    """{name: sorted microseconds}: rounds of one launch of each, forwards and backwards in turn."""
    for launch in launches.values():
        for _ in range(WARM_UPS):
            launch()
    torch.cuda.synchronize()
    events = {name: [] for name in launches}
    for turn in range(repeat):
        for name in list(launches)[:: -1 if turn % 2 else 1]:
            pair = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            flush.zero_()
            pair[0].record()
            launches[name]()
            pair[1].record()
            events[name].append(pair)
    torch.cuda.synchronize()
    return {name: sorted(1e3 * first.elapsed_time(last) for first, last in pairs) for name, pairs in events.items()}


def measure(torch, models, lengths, repeat):
    device = torch.device("cuda")
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    limits = limits_of(torch, device)
    rows = []
    for T in lengths:
        for model in models:
            for gemm in (1, 2):
                launches = contenders_of(torch, model, gemm, T, device)
                times = time_all(torch, {**launches, **limits}, repeat, flush)
                quartiles = {name: statistics.quantiles(us, n=4, method="inclusive") for name, us in times.items()}
                for op in launches:
                    low, median, high = quartiles[op]
                    rows.append({
                        "model": model, "E": MODELS[model]["E"], "T": T, "gemm": gemm, "op": op, "us": median, "us_low": low,
                        "us_high": high, "runs": repeat, "copy_gbs": 2 * COPY_BYTES / quartiles["copy"][1] / 1e3,
                        "product_tflops": 2 * SIDE**3 / quartiles["product"][1] / 1e6,
                    })
                    print(f"{model:7} T{T:<6} gemm {gemm} {op:8} {median:9.1f} us", file=sys.stderr)
                del launches
                torch.cuda.empty_cache()
    return {"torch": torch.__version__, "cuda": torch.version.cuda, "device": torch.cuda.get_device_name(), "rows": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("-o", "--output", default="-", help="JSON file (standard output)")
    parser.add_argument("--repeat", type=int, default=30, help="timed launches (30)")
    parser.add_argument("--seqlen", default="1024,8192", help="tokens (1024,8192)")
    parser.add_argument("--model", default="qwen3,llama4", help="models (qwen3,llama4)")
    arguments = parser.parse_args()
    models = arguments.model.split(",")
    if not set(models) <= set(MODELS):
        parser.error(f"unknown model in '{arguments.model}': expected {', '.join(MODELS)}")
    if arguments.repeat < 2:
        parser.error(f"too few launches: {arguments.repeat}")
    try:
        import torch
    except ImportError as fault:
        sys.exit(f"error: no torch: {fault} (install it to compare with it; nothing else needs it)")
    if not torch.cuda.is_available() or not hasattr(torch, "_grouped_mm"):
        sys.exit("error: torch sees no GPU, or is older than 2.8 and has no _grouped_mm")
    result = measure(torch, models, [int(T) for T in arguments.seqlen.split(",")], arguments.repeat)
    text = json.dumps(result, indent=1) + "\n"
    if arguments.output == "-":
        sys.stdout.write(text)
    else:
        with open(arguments.output, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
