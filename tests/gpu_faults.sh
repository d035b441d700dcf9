#!/usr/bin/env bash
# gpu_faults.sh: faults.sh on a GPU, then the shipped kernels under every perturbation: run by hand, with a build that has
# tests (cmake -DBUILD_TESTING=ON), because no CI machine has a GPU.
# usage: tests/gpu_faults.sh [BUILD_DIR]
set -eu
cd "$(dirname "$0")/.."
build=${1-build}
bash tests/faults.sh "$build/moegemm" "$PWD" "$PWD/$build/subjects" cuda
"$build/moegemm" run --backend cuda --nightly -q --report "$build/nightly" \
    -k "T128-H32 and (topk4 or topk2) and (W1 or W2) and not autotune"
