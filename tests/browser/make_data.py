"""Makes results.jsonl files for the browser tests: ids of the real case table, results made up, the same every time."""

import json
import re


def header(cases, **more):
    device = {"name": "NVIDIA H200", "cc": 90, "sm_count": 132, "driver": "580.65.06", "compiler": "NVRTC 13.0"}
    return {"schema": 1, "version": "0.1.0", "commit": "0123456789ab", "time": "2026-11-21T03:00:00+0000", "device": device,
            "backend": "cuda", "subject": "moegemm", "command": "moegemm run", "repro": "./run_tests.sh", "workers": 4,
            "selected": cases, "deselected": 0, "seed": 0, **more}


def passed(index, case, **more):
    value = (index * 2654435761) % 1000
    difference = {"output": "y", "compared": 32768, "wrong": 0, "row": 0, "col": 0, "expert": 0, "expected": 0.0, "got": 0.0,
                  "max_ulp": 0.25 if "-real-" in case else 0.0, "mean_ulp": 0.0, "bound_ratio": 0.1, "tile_rms": 0.5,
                  "rows": 512, "cols": 64, "place": 0, "worst_row": 0, "worst_col": 0, "worst_place": 0,
                  "worst_expected": 0.0, "worst_got": 0.0, "hard_ratio": 0.01, "ulps": [32768]}
    runs = [{"perturbation": name, "equal": True, "digest": f"{index:016x}"} for name in ("none", "stream", "load")]
    return {"id": case, "verdict": "passed", "index": index, "message": "", "repeats": 3, "seconds": 0.002 + value / 1e5,
            "kernel_ms": 0.01 + value / 1e4, "digest": f"{index:016x}", "config": "", "kernel": f"{index % 97:016x}",
            "data": f"{index % 89:016x}", "runs": runs, "difference": difference, **more}


def failed(index, case, row=200, col=40, rows=512, cols=64, experts=(100, 28, 256, 128)):
    """A wrong 16 x 16 tile corner at (row, col), the error map as the harness makes it."""
    map_rows, map_cols = min(32, rows), min(32, cols)
    share = [[0] * map_cols for _ in range(map_rows)]
    for r in range(row, row + 16):
        for c in range(col, col + 16):
            share[r * map_rows // rows][c * map_cols // cols] += 1
    cell = rows * cols / (map_rows * map_cols)
    cells = "".join(f"{min(255, -(-255 * n // int(cell))):02x}" for line in share for n in line)
    value = passed(index, case)
    value["difference"].update(wrong=256, row=row, col=col, expert=2, expected=-41.5, got=12.25, max_ulp=431.0, mean_ulp=1.5,
                               bound_ratio=1.0, place=row, worst_row=row + 3, worst_col=col + 5, worst_place=row + 3,
                               worst_expected=17.0, worst_got=-900.0, rows=rows, cols=cols,
                               ulps=[rows * cols - 256, 0, 0, 0, 0, 2, 9, 31, 80, 90, 34, 8, 2], experts=list(experts),
                               map={"rows": map_rows, "cols": map_cols, "cells": cells})
    value.update(verdict="failed", repeats=1, runs=value["runs"][:1],
                 message=f"'y' is wrong: [{row}, {col}] (expert 2) is 12.25, expected -41.5; 256 of {rows * cols} elements\n"
                         f"worst of 'y': [{row + 3}, {col + 5}] is -900, expected 17")
    return value


def results(ids, wrong=("-permute_y-", "use_tma_store")):
    """A run of `ids` in which the cases with all words of `wrong` fail: a real fault has such a pattern."""
    made = []
    for index, case in enumerate(ids):
        if all(word in case for word in wrong):
            made.append(failed(index, case))
        elif "-E128-" in case and index % 5 == 0:
            made.append(passed(index, case, verdict="skipped", message="work 5e+09 above the simulator limit", repeats=0, kernel_ms=0.0))
        else:
            made.append(passed(index, case))
    return made


def bench():
    made = []
    for op in ("forward", "dX", "dW"):
        for at, tokens in enumerate([1, 4, 16, 64, 256, 1024, 4096, 16384, 65536]):
            flops, bytes_moved = 2.0 * tokens * 8 * 2048 * 1536, 128 * 2048 * 1536 * 2.0 + tokens * 8 * 3584 * 2.0
            us = (max(flops / 600e6, bytes_moved / 3.9e6) + 4 + at) * {"forward": 1, "dX": 1.15, "dW": 1.4}[op]
            floor = max(flops / 720e6, bytes_moved / 4.2e6)
            made.append({"type": "bench", "shape": f"qwen3 T{tokens} gemm 1", "op": op, "us": us, "tflops": flops / us / 1e6,
                         "gbs": bytes_moved / us / 1e3, "peak_tflops": 720.0, "peak_gbs": 4200.0, "floor_share": floor / us,
                         "model": "qwen3", "series": f"gemm 1 {op}", "axis": "tokens", "x": tokens})
    return made


def write(path, lines, summary=True):
    with open(path, "w", encoding="utf-8") as out:
        counts = {v: 0 for v in ("passed", "failed", "error", "skipped", "xfailed", "mistrusted")}
        for line in lines:
            if "verdict" in line:
                counts[line["verdict"]] += 1
            out.write(json.dumps(line, separators=(",", ":")) + "\n")
        if summary:
            out.write(json.dumps({"summary": {**counts, "not_run": 0, "interrupted": False, "seconds": 43.2}}) + "\n")


def ids(text):
    """The ids that `moegemm list -q` printed."""
    return [line for line in text.splitlines() if re.match(r"grouped_gemm_\w+\[", line)]
