#!/usr/bin/env bash
# reports.sh: reports over several runs, as a user meets them: history, comparing, CSV, annotations, width and colours.
# usage: reports.sh PATH_OF_MOEGEMM SOURCE_DIR FOLDER_OF_SUBJECTS
set -u
moegemm=$1 source=$2 subjects=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MOEGEMM_CACHE=${MOEGEMM_CACHE-$work/cache}
cd "$work" || exit 1
passed=0 failed=0

test_that() { # NAME COMMAND...: the command holds
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        echo "FAILED $name"
        sed 's/^/    /' out | tail -n 20
        failed=$((failed + 1))
    fi
}
# run STATUS ARGUMENTS...: a run of a few cases in `reports`, its output in `out`
run() {
    local expected=$1
    shift
    "$moegemm" run --backend sim --golden-dir "$source/golden" -k "forward_manual[ and tma and topk4-E4-T128-H32 and bf16 and exact" \
        "$@" >out 2>&1 </dev/null
    local status=$?
    [ $status = "$expected" ] || { echo "exit status $status, expected $expected"; return 1; }
}
has() { grep -qF -- "$1" out; }
lacks() { ! grep -qF -- "$1" out; }
# The same results under another name: what the history compares are runs of one subject.
swap() { cp "$subjects/$1.so" subject.so; }
narrow() { # but ids, which must stay whole, and the lines that hold them
    ! grep -v 'grouped_gemm_' out | grep -q '.\{81\}'
}

swap example
test_that "a first run" run 0 --subject ./subject.so
test_that "has no news" lacks "history:"
sleep 1 # runs of one second are in no order
swap wrong_expert_at_boundary
test_that "a fault" run 1 --subject ./subject.so --github
test_that "is new" grep -qE '^history: [0-9]+ new' out
test_that "is annotated" grep -qE "^::error title=grouped_gemm_forward_manual\[.*::'y' is wrong" out
test_that "is told in 80 columns" narrow
test_that "without colours in a log" lacks $'\033'
test_that "enters the page" grep -q '"changes":\["new"' reports/latest/report.html
sleep 1
test_that "the fault again" run 1 --subject ./subject.so --durations=3 --color=yes
test_that "is recurring" grep -qE '^history: [0-9]+ recurring' out
test_that "with colours when asked" has $'\033[31m'
NO_COLOR=1 script -qec "'$moegemm' run --backend sim --golden-dir '$source/golden' --history none --report r '$(grep -o "grouped_gemm_forward_manual\[W1[^]]*\]" out | head -n 1)'" typescript >out 2>&1
test_that "NO_COLOR on a terminal" grep -q '1 passed' out
test_that "is honoured" eval "! grep -q \$'\\033\\[3' out"
sleep 1
swap example
test_that "repaired" run 0 --subject ./subject.so -rA
test_that "passes listed" has "PASSED grouped_gemm_"
test_that "is fixed" grep -qE '^history: [0-9]+ fixed' out

runs=(reports/2*)
"$moegemm" compare "${runs[0]}" "${runs[1]}" >out 2>&1
test_that "compare finds new failures" [ $? = 1 ]
test_that "and shows them" has "new failure: "
"$moegemm" compare "${runs[1]}" "${runs[3]}" --html compare.html >out 2>&1
test_that "compare passes what is fixed" [ $? = 0 ]
test_that "and draws it" grep -q '"changes":\["fixed"' compare.html
"$moegemm" export "${runs[1]}" >out
test_that "a line a case" [ "$(grep -c '^grouped_gemm_' out)" = "$(grep -c '^{"id"' "${runs[1]}/results.jsonl")" ]
xmllint --nonet --noout --schema "$source/tests/junit.xsd" "${runs[1]}/junit.xml" >out 2>&1
test_that "JUnit by its schema" [ $? = 0 ]
rm -f reports/history.db*
"$moegemm" report history >out 2>&1
test_that "a lost history comes back" [ $? = 0 ]
test_that "from the runs" has "took in 4 runs from 'reports'"
test_that "with its page" grep -q '"verdicts":".FF."' reports/history.html
for file in junit.xml report.html; do
    "$moegemm" report "${runs[1]}" -o again.html --junitxml again.xml >out 2>&1
    "$moegemm" report "${runs[1]}" -o third.html --junitxml third.xml >out 2>&1
    test_that "$file has the same bytes each time" cmp -s again."${file#*.}" third."${file#*.}"
done

echo "$passed passed, $failed failed"
[ $failed = 0 ]
