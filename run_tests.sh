#!/usr/bin/env bash
# run_tests.sh: from a fresh clone to results: installs what is missing, builds, makes the goldens that the selected cases
# need, and runs them on the GPU, or on the CPU simulator where there is none.
#   ./run_tests.sh [OPTIONS OF 'moegemm run']   for example -k "forward and tma"; --help lists them
#   ./run_tests.sh --self-test [CTEST OPTIONS]  the project's own tests
#   ./run_tests.sh --mutants [OPTIONS]          seeded bugs that must be caught; writes tests/mutants/KILLS.md
# MOEGEMM_BINARY=PATH runs a binary built elsewhere instead of building (a GPU machine without development packages).
set -euo pipefail
cd "$(dirname "$0")"

die() {
    echo "run_tests.sh: error: $*" >&2
    exit 3
}

# One line per need: what it is tested by, then the Debian package that brings it.
needs_to_run='
command:cc                       gcc
command:cmake                    cmake
command:ninja                    ninja-build
header:sys/mman.h                libc6-dev
archive:jansson.h:libjansson.a   libjansson-dev
archive:xxhash.h:libxxhash.a     libxxhash-dev
archive:openssl/evp.h:libcrypto.a libssl-dev
archive:sqlite3.h:libsqlite3.a libsqlite3-dev'
needs_to_self_test='
archive:cmocka.h:libcmocka.so    libcmocka-dev
command:clang-format-14          clang-format-14
command:clang-14                 clang-14
fuzzer:14                        libclang-rt-14-dev
command:git                      git
command:python3                  python3
python:venv                      python3-venv
command:pkg-config               pkg-config
command:xmllint                  libxml2-utils
command:chromium                 chromium'

have() {
    local kind=${1%%:*} what=${1#*:}
    case $kind in
    command) command -v "$what" >/dev/null ;;
    header) echo "#include <$what>" | cc -E - >/dev/null 2>&1 ;;
    archive) echo "#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <${what%%:*}>" | cc -E - >/dev/null 2>&1 && [ -e "$(cc -print-file-name="${what#*:}")" ] ;;
    fuzzer) echo 'int LLVMFuzzerTestOneInput() { return 0; }' | clang-"$what" -x c -w -fsanitize=fuzzer -o /dev/null - 2>/dev/null ;;
    python) python3 -c "import $what, ensurepip" >/dev/null 2>&1 ;;
    esac
}

install_missing() {
    local missing=() probe package
    while read -r probe package; do
        [ -z "$probe" ] || have "$probe" || missing+=("$package")
    done <<<"$1"
    [ ${#missing[@]} -gt 0 ] || return 0
    local line="apt-get install -y --no-install-recommends ${missing[*]}" as=
    if [ "$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as=sudo; else as=none; fi
    fi
    command -v apt-get >/dev/null && [ "$as" != none ] ||
        die "missing ${missing[*]} (run: sudo apt-get update && sudo $line)"
    echo "run_tests.sh: installing ${missing[*]}" >&2
    local log
    log=$(mktemp)
    if ! { $as apt-get update && DEBIAN_FRONTEND=noninteractive $as $line; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        die "could not install packages (log: $log; by hand: sudo $line)"
    fi
    rm -f "$log"
}

# build TARGET CMAKE_OPTIONS...: an existing build folder is configured again only when options are given
build() {
    local target=$1 log=build/build.log
    shift
    mkdir -p build
    if ! { { [ $# = 0 ] && [ -f build/build.ninja ]; } || cmake -S . -B build -G Ninja -DBUILD_TESTING=OFF "$@"; } \
        >"$log" 2>&1 || ! cmake --build build --target "$target" >>"$log" 2>&1; then
        grep -E 'error|Error|No space' -A 3 "$log" | head -n 20 >&2 || tail -n 20 "$log" >&2
        die "the build failed (log: $log)"
    fi
}

self_test() {
    install_missing "$needs_to_run$needs_to_self_test"
    build all -DBUILD_TESTING=ON
    exec ctest --test-dir build --output-on-failure --no-tests=error -j "$(nproc)" "$@"
}

# Beside a MOEGEMM_BINARY lie the mutants of kernels and launchers; those of the harness are judged where it is built.
mutants() {
    local folder status=0
    if [ -z "${MOEGEMM_BINARY-}" ]; then
        install_missing "$needs_to_run$needs_to_self_test"
        build all -DBUILD_TESTING=ON
    fi
    folder=$(dirname "${MOEGEMM_BINARY-build/moegemm}")/tests/mutants
    "$folder/moegemm-mutants" --golden-dir golden --write tests/mutants/KILLS.md "$@" || status=$?
    [ -n "${MOEGEMM_BINARY-}" ] || "$folder/moegemm-mutants" --harness --write tests/mutants/KILLS.md || status=$?
    exit $status
}

case "${1-}" in
--self-test)
    shift
    self_test "$@"
    ;;
--mutants)
    shift
    mutants "$@"
    ;;
esac

binary=${MOEGEMM_BINARY-}
if [ -z "$binary" ]; then
    install_missing "$needs_to_run"
    build moegemm
    binary=build/moegemm
fi
[ -x "$binary" ] || die "no executable at '$binary' (unset MOEGEMM_BINARY to build one)"
exec "$binary" run --generate "$@"
