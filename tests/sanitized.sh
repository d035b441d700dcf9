#!/usr/bin/env bash
# sanitized.sh: the host code's unit tests once more under the address and undefined-behaviour sanitizers. The simulator's
# tests stay out: its fibers switch stacks, which the address sanitizer does not follow. usage: sanitized.sh SOURCE_DIR FOLDER
set -eu
source=$1 folder=$2
tests="test_block test_cases test_compare test_compare_runs test_counter_hash test_database test_error_map test_filter test_history test_ledger test_list test_measure test_npy test_options test_plan test_report test_schedule test_select test_xfail"
cmake -S "$source" -B "$folder" -G Ninja -DMOEGEMM_SANITIZE=ON -DBUILD_TESTING=ON >"$folder.log"
cmake --build "$folder" --target $tests >>"$folder.log" || { tail -n 20 "$folder.log"; exit 1; }
for test in $tests; do
    echo "$test"
    "$folder/tests/$test" 2>"$folder.err" || { tail -n 30 "$folder.err"; exit 1; }
done
