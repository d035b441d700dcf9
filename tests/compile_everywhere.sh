#!/usr/bin/env bash
# compile_everywhere.sh: kernels build for every architecture, without a GPU: every flag set once and every config once. NVRTC
# comes from the machine, or from PyPI into the cache's virtual environment. usage: compile_everywhere.sh PATH_OF_MOEGEMM
set -eu
moegemm=$1
venv=${MOEGEMM_CACHE-$HOME/.cache/moegemm}/nvrtc
if ! "$moegemm" doctor | grep -q '^NVRTC *NVRTC'; then
    if [ ! -x "$venv/bin/python" ]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" --disable-pip-version-check install --quiet nvidia-cuda-nvrtc==13.0.88
    fi
    folder=$(dirname "$(find "$venv" -name 'libnvrtc.so*' | head -n 1)")
    export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH+:$LD_LIBRARY_PATH}
fi
"$moegemm" doctor --compile
