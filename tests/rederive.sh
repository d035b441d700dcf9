#!/bin/bash
# rederive.sh SOURCE_DIR: the hash goldens of one expert of each full-size model and the goldens of MoE blocks, computed
# anew in NumPy, are those that are committed; a table with wrong hashes is found out; and data that could not show a fault
# is refused.
set -eu
source=$1
venv=${MOEGEMM_CACHE:-$HOME/.cache/moegemm}/venv
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
run() { sh "$source/gen/python.sh" "$venv" "$source/gen/rederive.py" "$1"; }

run "$source/golden"
sh "$source/gen/python.sh" "$venv" "$source/gen/moe.py" --check

key=W2-topk1-E16-T128-H1024-I1024-mult # the quickest
head -n 1 "$source/golden/problems.tsv" >"$copy/problems.tsv"
awk -F '\t' '$1 == "W2" && $2 == 16 && $4 == 128 && $5 == 1024' "$source/golden/problems.tsv" >>"$copy/problems.tsv"
sed "/^$key\tbf16\tdx\t/s/[0-9a-f]\{16\}/0123456789abcdef/g" "$source/golden/hashes.tsv" >"$copy/hashes.tsv"
if run "$copy" >"$copy/log"; then
    echo "rederive.sh: a wrong hash was not found" >&2
    exit 1
fi
grep -q "wrong hash of '$key bf16 dx'" "$copy/log"

cat >"$copy/zeros.py" <<PYTHON
import sys

sys.path.insert(0, "$source/gen")
import numpy, counter_hash, generate, hash_goldens, problems

for p in problems.read("$source/golden")[:1] + problems.read("$copy"):
    for made in (counter_hash.integers, lambda seed, bits, scale, start, count: numpy.zeros(count, "f4")):
        counter_hash.integers, kept = made, counter_hash.integers
        try:
            hash_goldens.rows((p, "bf16")) if p.hashed else list(generate.arrays(p, "exact", ["bf16"], 0))
            assert made is kept, "zeros were taken for data"
        except AssertionError as error:
            assert made is not kept and "no power" in str(error), error
        counter_hash.integers = kept
PYTHON
sh "$source/gen/python.sh" "$venv" "$copy/zeros.py"
