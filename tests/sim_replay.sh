#!/usr/bin/env bash
# sim_replay.sh: a race that a run reports comes back, word for word, from the repro line below it; and a right kernel passes.
# usage: sim_replay.sh PATH_OF_MOEGEMM SOURCE_DIR FOLDER_OF_SUBJECTS
set -u
moegemm=$1 source=$2 subjects=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MOEGEMM_CACHE=${MOEGEMM_CACHE-$work/cache}
case_='grouped_gemm_forward_manual[W1-topk1-E4-T128-H32-I32-bf16-exact-mult-mma_sync-bm32-bn32-bk32-w4-s2]'
die() {
    echo "FAILED: $*"
    cat "$work/out"
    exit 1
}
# what the run says of the case, without the folds of its lines
said() { sed -n '/^ERROR/,/run_tests.sh/p' "$work/out" | sed '1d; s/^ *//' | grep -v '^\./run_tests' | tr '\n' ' '; }

for seed in 0 5 12; do
    "$moegemm" run --backend sim --golden-dir "$source/golden" --report "$work/first" --check race --sim-seed $seed \
        --subject "$subjects/racing.so" "$case_" >"$work/out" 2>&1
    [ $? = 1 ] || die "the race passes with seed $seed"
    first=$(said)
    case $first in
    *"race on global memory"*"between the "*" of thread "*" of block "*"own.cu:7 and the "*"own.cu:7, thread "*" of block "*"simulator seed "*) ;;
    *) die "the report does not name both accesses: $first" ;;
    esac
    repro=$(grep -m 1 -o "run_tests.sh .*" "$work/out")
    case $repro in
    *" --check race "*" --sim-seed "*) ;;
    *) die "no check and no seed in the repro line: $repro" ;;
    esac
    named=$(sed 's/.*simulator seed \([0-9]*\).*/\1/' <<<"$first")
    [ "$named" = $seed ] || die "the first launch had seed $named, not $seed"
    eval "\"\$moegemm\" run --golden-dir \"\$source/golden\" --report \"\$work/second\" ${repro#run_tests.sh}" >"$work/out" 2>&1
    [ "$(said)" = "$first" ] || die "the replay says '$(said)', not '$first'"
done

"$moegemm" run --backend sim --golden-dir "$source/golden" --report "$work/third" --check race --sim-seed 5 "$case_" \
    >"$work/out" 2>&1 || die "a right kernel is reported"
tail -n 1 "$work/out" | grep -q '^1 passed, 0 failed' || die "not one case passed"

"$moegemm" run --backend sim --golden-dir "$source/golden" --report "$work/fourth" --nightly --subject "$subjects/racing.so" \
    "$case_" >"$work/out" 2>&1
grep -q -- "--check race .*--sim-seed " "$work/out" || die "a nightly run on the simulator does not look for races"
echo "3 races replayed"
