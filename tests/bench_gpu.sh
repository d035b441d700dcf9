#!/usr/bin/env bash
# bench_gpu.sh: on a GPU, within ten minutes: torch's times where torch is installed, then ours beside them, cuBLAS's and the
# limits of the same run. usage: tests/bench_gpu.sh OUT [MOEGEMM [PYTHON]]
#   OUT/torch.json, OUT/table.txt, OUT/table/{results.jsonl,report.html}, OUT/doctor.txt; log of torch in OUT/torch.txt
set -euo pipefail
[ $# -ge 1 ] && [ $# -le 3 ] || {
    echo "usage: tests/bench_gpu.sh OUT [MOEGEMM [PYTHON]]" >&2
    exit 4
}
out=$1 moegemm=${2-build/moegemm} python=${3-python3}
[ -x "$moegemm" ] || {
    echo "bench_gpu.sh: error: no executable at '$moegemm' (build it, or name one)" >&2
    exit 3
}
mkdir -p "$out"
"$moegemm" doctor >"$out/doctor.txt" || true

# torch brings a cuBLAS of its own, for machines that have no other
libraries=$("$python" - <<'PYTHON' 2>/dev/null || true
import glob, os, nvidia
print(":".join(folder for root in nvidia.__path__ for folder in glob.glob(os.path.join(root, "*", "lib"))))
PYTHON
)
peers=()
if "$python" -c 'import torch, numpy' 2>/dev/null &&
    timeout 300 "$python" "$(dirname "$0")/peers/torch_grouped_mm.py" -o "$out/torch.json" 2>"$out/torch.txt"; then
    peers=(--peers "$out/torch.json")
else
    echo "bench_gpu.sh: no times of torch ($(tail -n 1 "$out/torch.txt" 2>/dev/null || echo "$python has no torch or no NumPy"))" >&2
fi
[ -z "$libraries" ] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH+$LD_LIBRARY_PATH:}$libraries
status=0
timeout 280 "$moegemm" bench --table --report "$out/table" "${peers[@]}" |
    tee "$out/table.txt" || status=$?
exit $status
