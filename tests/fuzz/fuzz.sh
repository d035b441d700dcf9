#!/usr/bin/env bash
# fuzz.sh: builds the fuzz targets and runs each for some seconds.
# usage: fuzz.sh BUILD_DIR SECONDS [--coverage] [TARGET...]   --coverage: also which lines of the parsers were reached
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=$here/../..
build=$(cd "$1" && pwd)
seconds=$2
shift 2
coverage=no
[ "${1-}" != --coverage ] || { coverage=yes && shift; }
echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return 0; }' |
    clang-14 -x c -w -fsanitize=fuzzer -o /dev/null - 2>/dev/null ||
    { echo "no libFuzzer (apt-get install clang-14 libclang-rt-14-dev)" && exit 77; }

# target: the harness's files that it is about, which alone are instrumented
targets='npy:npy filter:filter manifest:corpus problems:problem xfail:xfail,filter options:options,select results:runset,resume,report,report_junit'
out=$build/fuzz
mkdir -p "$out"

compile() { # target files flags...
    local target=$1 files=() file
    for file in ${2//,/ }; do # a target that includes its file brings it along
        grep -q "#include \"$file.c\"" "$here/fuzz_$target.c" || files+=("$source/harness/$file.c")
    done
    shift 2
    clang-14 -std=gnu17 -g -O1 -w -D_GNU_SOURCE -DMOEGEMM_SOURCE_DIR="\"$source\"" "$@" \
        -I"$source/harness" -I"$source/kernels" -I"$build" "$here/fuzz_$target.c" "${files[@]}" \
        "$build/libmoegemm-harness.a" "$build/libmoegemm.a" \
        -l:libjansson.a -l:libcrypto.a -l:libxxhash.a -l:libsqlite3.a -lm -ldl -lpthread
}

run() { # target files
    local target=$1 corpus=$out/corpus-$1 log=$out/$1.log binary=$out/fuzz_$1
    mkdir -p "$corpus"
    compile "$target" "$2" -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -o "$binary"
    if ! "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="$out/$target-" -dict="$here/words.dict" "$corpus" "$here/seeds/$target" >"$log" 2>&1; then
        grep -E 'ERROR|SUMMARY|runtime error|Test unit written' "$log"
        echo "fuzz.sh: error: '$target' fails: $log"
        return 1
    fi
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions in $seconds s," \
        "$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1), corpus $(ls "$corpus" | wc -l)"
    [ $coverage = no ] || cover "$target" "$2"
}

cover() {
    local target=$1 binary=$out/cover_$1
    compile "$target" "$2" -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping -o "$binary"
    LLVM_PROFILE_FILE=$binary.raw "$binary" -runs=0 "$out/corpus-$target" "$here/seeds/$target" >/dev/null 2>&1
    llvm-profdata-14 merge -o "$binary.data" "$binary.raw"
    local files=() file
    for file in ${2//,/ }; do files+=("$source/harness/$file.c"); done
    llvm-cov-14 report "$binary" -instr-profile="$binary.data" "${files[@]}" 2>/dev/null |
        awk '$1 == "TOTAL" {print "    " $10 " of the lines of those files"}'
}

failed=0
for entry in $targets; do
    [ $# = 0 ] || case " $* " in *" ${entry%%:*} "*) ;; *) continue ;; esac
    run "${entry%%:*}" "${entry#*:}" || failed=1
done
exit $failed
