#!/bin/bash
# calibration_page.sh TEST_CALIBRATION: calibrate.sh keeps what other devices measured, replaces what the same device did, and
# refuses a run without right cases of class real.
set -eu
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

results() { # DEVICE RATIO...: cases of one kind, and some that do not count
    local device=$1 ratio
    shift
    echo "{\"schema\":1,\"commit\":\"abc\",\"device\":{\"name\":\"$device\",\"cc\":90}}"
    for ratio; do
        echo "{\"id\":\"grouped_gemm_forward_manual[W1-topk1-E4-T128-H72-I32-bf16-real-mult-reference]\",\"verdict\":\"passed\",\"difference\":{\"compared\":10,\"bound_ratio\":$ratio,\"tile_rms\":0.7,\"hard_ratio\":0.1}}"
    done
    echo "{\"id\":\"grouped_gemm_forward_manual[W1-topk1-E4-T128-H72-I32-bf16-real-mult-reference]\",\"verdict\":\"failed\",\"difference\":{\"compared\":10,\"bound_ratio\":9,\"tile_rms\":9,\"hard_ratio\":9}}"
    echo "{\"id\":\"grouped_gemm_forward_manual[W1-topk1-E4-T128-H72-I32-bf16-exact-mult-reference]\",\"verdict\":\"passed\",\"difference\":{\"compared\":10,\"bound_ratio\":0,\"tile_rms\":0,\"hard_ratio\":0}}"
}
add() { bash "$here/calibrate.sh" "$work/results" "$1" "$work/page" >/dev/null; }

results one 0.5 0.25 0.75 >"$work/results" && add "$1"
results two 0.125 >"$work/results" && add "$1"
grep -qF '| forward | bf16 | 128 | 3 | 0.500 | 0.750 | 0.750 | 0.100 | 0.700 | 0.700 | 0.700 |' "$work/page"
grep -qF '| forward | bf16 | 128 | 1 | 0.125 | 0.125 | 0.125 |' "$work/page"
results one 0.5 0.5 >"$work/results" && add "$1"
grep -qF '| forward | bf16 | 128 | 2 | 0.500 |' "$work/page"
if grep -qF '| 3 | 0.500 |' "$work/page"; then exit 1; fi
[ "$(grep -c '^## ' "$work/page")" = 3 ]
results three >"$work/results"
if add "$1" 2>"$work/error"; then exit 1; fi
grep -q "no right case of class real" "$work/error"
