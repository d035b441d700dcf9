#!/usr/bin/env bash
# false_alarms.sh: runs the shipped kernels on fresh data again and again; every failure is a false alarm of the harness (or
# a bug of the kernels). Both types, every class, op and mainloop; each seed takes the next part of the cases.
# usage: false_alarms.sh MOEGEMM BACKEND CASE_RUNS [FIRST_SEED [PARTS]]   ends after at least CASE_RUNS runs of a case; so that
# no call takes long, ask for fewer and let the next call begin with the seed after the last one told
set -eu
moegemm=$1 backend=$2 wanted=$3 seed=${4-1} parts=${5-16}
# goldens of fresh data are made on the host, so the models that take seconds there stay out
selection="not H512 and not autotune and (bf16 or fp16)"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
total=0 alarms=0
number() { tail -n 1 "$folder/results.jsonl" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
begun=$(date +%s)
while [ "$total" -lt "$wanted" ]; do
    "$moegemm" run --backend "$backend" --seed "$seed" --shard "$((seed % parts + 1))/$parts" -k "$selection" \
        --no-ledger --history none --report "$folder" -q >"$folder/log" 2>&1 || true
    passed=$(number passed) bad=$(($(number failed) + $(number error) + $(number mistrusted)))
    [ -n "$passed" ] && [ $((passed + bad)) -gt 0 ] || { tail -n 5 "$folder/log"; exit 3; }
    total=$((total + passed + bad)) alarms=$((alarms + bad))
    [ "$bad" = 0 ] || { grep -E '"verdict":"(failed|error|mistrusted)"' "$folder/results.jsonl" | cut -c 1-400; }
    echo "seed $seed: $passed passed, $bad did not; $total case runs, $alarms alarms in $(($(date +%s) - begun)) s"
    seed=$((seed + 1))
done
[ "$alarms" = 0 ]
