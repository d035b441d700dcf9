#!/usr/bin/env bash
# faults.sh: kernels and hosts that die: their cases are errors, the worker is replaced, the other cases pass; and a race on
# purpose is reported, its twin in order is not.
# usage: faults.sh PATH_OF_MOEGEMM SOURCE_DIR FOLDER_OF_SUBJECTS [sim|cuda]
set -u
moegemm=$1 source=$2 subjects=$3 backend=${4-sim}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MOEGEMM_CACHE=${MOEGEMM_CACHE-$work/cache}
failures=0

fail() {
    echo "FAILED $name: $*"
    tail -n 6 "$work/out" | sed 's/^/    out: /'
    sed 's/^/    err: /' "$work/err" | head -n 8
    failures=$((failures + 1))
}
simulate() {
    "$moegemm" run --generate --backend "$backend" --golden-dir "$source/golden" --report "$work/report" --no-ledger -n 2 "$@" \
        >"$work/out" 2>"$work/err" </dev/null
    status=$?
}
count() { grep -c "\"verdict\":\"$1\"" "$work/report/results.jsonl"; }

# With permute_x the subject dies, without it the shipped kernels run.
cases='forward_manual and W1 and topk1- and T128-H32 and E4- and bf16 and exact and s2 and bm32 and not autograd and not load_x and not permute_y and not fuse'
"$moegemm" run --collect-only -q -k "$cases" >"$work/ids" 2>"$work/err"
dying=$(grep -c '^grouped_gemm_.*permute_x' "$work/ids")
living=$(grep '^grouped_gemm_' "$work/ids" | grep -vc permute_x)
name="the selection has both"
[ "$dying" -ge 2 ] && [ "$living" -ge 2 ] || fail "$dying that die, $living that live"

# fault, what its message says on the simulator and on a GPU
while read -r fault on_sim on_cuda; do
    name="faulty_$fault on $backend"
    limit=60
    [ "$fault" = hang ] && limit=3
    [ "$backend" = cuda ] && [ "$fault" = hang ] && limit=20 # workers of a GPU start in seconds
    simulate -k "$cases" --subject "$subjects/faulty_$fault.so" --timeout $limit
    [ "$backend" = sim ] && words=$on_sim || words=$on_cuda
    if [ $status != 1 ]; then
        fail "exit status $status, expected 1"
    elif [ "$(count error)" != "$dying" ] || [ "$(count passed)" != "$living" ]; then
        fail "$(count error) errors and $(count passed) passed, expected $dying and $living"
    elif [ "$(grep -c "\"verdict\":\"error\".*${words//_/ }" "$work/report/results.jsonl")" != "$dying" ]; then
        fail "an error lacks '${words//_/ }'"
    fi
done <<'END'
trap       trap                        CUDA.ERROR
address    invalid_address             CUDA.ERROR.ILLEGAL.ADDRESS
hang       timed_out_after_3_s         timed_out_after_20_s
segfault   segmentation_fault          segmentation_fault
kill       killed_(signal_9)           killed_(signal_9)
END

# Sums in class real have other bits in another order; the twin takes the same order always.
race='forward_manual and real and topk4 and T128-H32 and E4- and mma_sync-bm32-bn32-bk32-w4-s2'
for subject in racing in_order; do
    name="$subject on $backend"
    simulate -k "$race" --subject "$subjects/$subject.so" --perturb
    if [ $subject = racing ]; then
        [ $status = 1 ] && grep -q "differs between runs" "$work/report/results.jsonl" || fail "no race was reported"
    else
        [ $status = 0 ] && [ "$(count passed)" -ge 1 ] || fail "exit status $status, expected 0"
    fi
done

[ $failures = 0 ] && echo "faults on $backend: all as expected"
exit $((failures > 0))
