#!/usr/bin/env bash
# memcheck.sh: a sample of cases that covers every kernel, flag and config, under compute-sanitizer; needs a GPU.
# usage: memcheck.sh [MOEGEMM [MINIMUM_OF_CASES]]; any report of the sanitizer fails, and so does its silence on the subject
# that writes to a wild address (subjects/faulty_address.so beside the binary)
set -euo pipefail
moegemm=${1-build/moegemm} least=${2-50}
faulty=$(dirname "$moegemm")/subjects/faulty_address.so
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# An id is taken when it brings a pair of operation and parameter that no id before it had; refusals launch nothing. The
# second pass fills up to the number asked for.
"$moegemm" run --collect-only -q -k "(T150 or T61 or T673 or T7) and not autotune" |
    grep '^grouped_gemm_' >"$work/all"
awk -v least="$least" -F'[][]' '
    /permute_x-.*permute_y|\[W1-permute_y|\[W2-permute_x/ { next }
    { n = split($2, words, "-"); new = 0; op = $1; sub(/_autograd$/, "", op)
      for (i = 1; i <= n; i++) if (words[i] !~ /^[THIE][0-9]/ && !((op, words[i]) in seen)) new = 1
      if (!new) { spare[++spares] = $0; next }
      for (i = 1; i <= n; i++) seen[op, words[i]] = 1
      print; taken++ }
    END { for (i = 1; taken < least && i <= spares; i += int(spares / least) + 1) { print spare[i]; taken++ } }
' "$work/all" >"$work/sample"
echo "memcheck.sh: $(wc -l <"$work/sample") cases"
"$moegemm" run --generate --backend cuda --repeat 1 -n 1 --report "$work/warm" "@$work/sample" | tail -n 1
# memcheck LOG OPTIONS...: runs cases under the sanitizer, one worker
memcheck() {
    local log=$1
    shift
    compute-sanitizer --tool memcheck --target-processes all --log-file "$work/$log.%p" \
        "$moegemm" run --backend cuda --repeat 1 -n 1 --timeout 900 --report "$work/report" "$@" | tail -n 1
}
memcheck log "@$work/sample" || true
cat "$work"/log.* | sort | uniq -c | sort -rn | head -n 20
grep -hq 'ERROR SUMMARY' "$work"/log.* || exit 1
! grep -h 'ERROR SUMMARY' "$work"/log.* | grep -qv 'ERROR SUMMARY: 0 errors' || exit 1

memcheck control --subject "$(realpath "$faulty")" "$(grep -m 1 'forward_manual.*permute_x' "$work/sample")" || true
if ! grep -hq 'Invalid __global__' "$work"/control.*; then
    echo "memcheck.sh: error: the sanitizer says nothing of a write to a wild address" >&2
    exit 1
fi
echo "memcheck.sh: no errors in the sample, and the control was seen"
