#!/usr/bin/env python3
"""Computes the hash goldens of one expert of each full-size model anew and compares them with golden/hashes.tsv.

`python gen/rederive.py [GOLDEN_DIR]`: exit status 1 and a line for each difference. A minute of one core.
"""

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hash_goldens  # noqa: E402
import problems  # noqa: E402


def chosen(table):
    """Of each model, GEMM and type the shortest problem in which an expert has several rows."""
    models = {}
    for p in table:
        if p.hashed and p.M >= p.E:
            for dtype in p.dtypes:
                model = (p.gemm, p.E, p.topk, p.H, p.I, dtype)
                if model not in models or p.T < models[model].T:
                    models[model] = p
    return [(p, model[-1]) for model, p in models.items()]


def main(golden_dir):
    with open(os.path.join(golden_dir, "hashes.tsv"), encoding="ascii") as lines:
        table = [line.rstrip("\n").split("\t") for line in lines]
    committed = {tuple(row[:3]): row[3].split(",") for row in table[1:]}
    wrong = compared = 0
    for p, dtype in chosen(problems.read(golden_dir)):
        source = hash_goldens.Source(p, dtype)
        e = int(source.m_sizes.argmax())
        for output, value in hash_goldens.of_expert(source, e)[0].items():
            found = committed[p.key, dtype, output][e]
            compared += 1
            if found != f"{value:016x}":
                wrong += 1
                print(f"rederive: wrong hash of '{p.key} {dtype} {output}' expert {e}: {found}, not {value:016x}")
    print(f"rederive: {compared} hashes computed anew, {wrong} wrong")
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(here), "golden")))
