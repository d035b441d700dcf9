#!/bin/bash
# calibrate.sh RESULTS.jsonl TEST_CALIBRATION [CALIBRATION.md]: how near right results of class real come to their limits.
# Puts a section for the run's device into golden/CALIBRATION.md, in place of that device's earlier one, and the table of
# faults made by the program TEST_CALIBRATION. The run: ./run_tests.sh -k "real and not autograd" --repeat 1
set -eu
results=$1 faults=$2 page=${3:-$(dirname "$0")/../golden/CALIBRATION.md}
device=$(head -n 1 "$results" | sed -n 's/.*"device":{"name":"\([^"]*\)".*/\1/p')
commit=$(head -n 1 "$results" | sed -n 's/.*"commit":"\([^"]*\)".*/\1/p')
[ -n "$device" ] || {
    echo "calibrate.sh: no device in the first line of '$results' (pass the results.jsonl of a run)" >&2
    exit 1
}
new=$(mktemp)
trap 'rm -f "$new" "$new.device" "$new.others"' EXIT

# op, type, R rounded up to a power of two, and the three ratios of every case that was compared and is right
numbers() {
    awk '
    function field(name) { return match($0, "\"" name "\":[-0-9.e+]+") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) : "" }
    function size(letter) { return match(id, "-" letter "[0-9]+") ? substr(id, RSTART + 2, RLENGTH - 2) + 0 : 0 }
    /"verdict":"passed"/ && /-real-/ && /"bound_ratio"/ {
        match($0, /"id":"[^"]*"/); id = substr($0, RSTART + 6, RLENGTH - 7)
        if (id ~ /_autograd/) next # the worst of three outputs is not one of them
        first = id ~ /\[W1/; K = first ? size("H") : size("I"); N = first ? 2 * size("I") : size("H")
        match(id, /topk[0-9]+/); topk = substr(id, RSTART + 4, RLENGTH - 4)
        op = id ~ /dX/ ? "dX" : id ~ /dW/ ? "dW" : id ~ /fuse_mul_post/ ? "forward, weighted" : "forward"
        R = op == "dX" ? N : op == "dW" ? size("T") * topk / size("E") : K
        if (field("compared") == 0 || R == 0) next
        for (bucket = 16; bucket < R; bucket *= 2);
        print op "\t" (id ~ /fp16/ ? "fp16" : "bf16") "\t" bucket "\t" field("bound_ratio") "\t" field("hard_ratio") "\t" field("tile_rms")
    }' "$results"
}

{
    printf '## %s\nAt commit %s.\n\n' "$device" "$commit"
    echo '| op | type | R up to | cases | sharp: median | 99.9% | max | hard: max | RMS: median | 99.9% | max |'
    echo '|---|---|---|---|---|---|---|---|---|---|---|'
    numbers | sort -t "$(printf '\t')" -k1,1 -k2,2 -k3,3n -k4,4g | awk -F '\t' '
    function rank(share) { i = int(share * n); return i < n ? i + 1 : n }
    function order(list,    i, j, x) { # by insertion: the bound ratios are sorted already, the others are few
        for (i = 2; i <= n; i++) { x = list[i]; for (j = i - 1; j > 0 && list[j] > x; j--) list[j + 1] = list[j]; list[j + 1] = x }
    }
    function finish() {
        if (!n) return
        order(rms)
        printf "| %s | %d | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f |\n", name, n, sharp[rank(.5)], sharp[rank(.999)],
            sharp[n], hard, rms[rank(.5)], rms[rank(.999)], rms[n]
    }
    { here = $1 " | " $2 " | " $3 }
    here != name { finish(); name = here; n = 0; hard = 0 }
    { n++; sharp[n] = $4 + 0; rms[n] = $6 + 0; if ($5 + 0 > hard) hard = $5 + 0 }
    END { finish() }'
    echo
} >"$new.device"
grep -q '^| [fd].* | [0-9]' "$new.device" || {
    echo "calibrate.sh: no right case of class real in '$results' (run with -k \"real and not autograd\")" >&2
    exit 1
}

# sections of other devices stay
: >"$new.others"
[ ! -f "$page" ] || awk -v device="## $device" '/^## / { keep = $0 != device && $0 != "## Faults" } keep' "$page" >"$new.others"
{
    cat <<'TEXT'
# How near right results of class real come to their limits, and what the limits see
Made by `tests/calibrate.sh RESULTS.jsonl build/tests/test_calibration` from a run of `-k "real and not autograd"`; each device
has a section. The limits are those of README.md; 1 is the limit. Of a case its largest ratio counts; medians and 99.9% are
over cases. Where R is short, the output's own rounding is most of an error and a ratio near 1 is the rule: what a limit must
leave room for is the accumulation, whose share of the sharp bound is in the second table. R of dW is the mean over experts.

TEXT
    cat "$new.others" "$new.device"
    cat <<'TEXT'
## Faults
On sums as tensor cores make them (16 products at a time, two extra bits, truncation), one tile of 64 x 64. "Accumulation" is
the largest error of the sum itself over its part of the sharp bound. Shares are of elements; a fault is in every element.

TEXT
    "$faults" --table
} >"$new"
cat "$new" >"$page"
echo "calibrate.sh: '$device' is in '$page'"
