#!/bin/sh
# python.sh VENV ARGUMENTS...: runs the Python that the corpus is made with: $MOEGEMM_PYTHON, else the virtual environment
# VENV, made on first use with the pinned NumPy (from PyPI, which brings OpenBLAS: Debian's is 40 times slower without
# libopenblas0-pthread), else any python3 that has NumPy.
venv=$(realpath -m "$1")
shift
here=$(dirname "$0")
if [ -n "${MOEGEMM_PYTHON-}" ]; then
    command -v "$MOEGEMM_PYTHON" >/dev/null && exec "$MOEGEMM_PYTHON" "$@"
    echo "moegemm golden: error: cannot run '$MOEGEMM_PYTHON' (set MOEGEMM_PYTHON to a python3 with NumPy)" >&2
    exit 127
fi
[ -x "$venv/bin/python" ] && exec "$venv/bin/python" "$@"

new=$venv.$$
log=$venv.log
mkdir -p "$(dirname "$venv")"
echo "making a virtual environment with NumPy in '$venv'" >&2
if { python3 -m venv "$new" && "$new/bin/pip" --disable-pip-version-check install --quiet --retries 1 --timeout 15 \
    -r "$here/requirements.txt"; } >"$log" 2>&1 && mv -T "$new" "$venv" 2>>"$log"; then
    rm -f "$log"
fi
rm -rf "$new"
[ -x "$venv/bin/python" ] && exec "$venv/bin/python" "$@"
python3 -c 'import numpy' 2>/dev/null && exec python3 "$@"
echo "moegemm golden: error: no python3 with NumPy and none could be made: $(tail -n 1 "$log" 2>/dev/null) (apt-get install python3-venv, or set MOEGEMM_PYTHON)" >&2
exit 127
