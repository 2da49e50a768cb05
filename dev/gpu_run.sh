#!/bin/sh
# On a bare machine with an NVIDIA driver, without a network: everything that needs a GPU, once.
#
#     tar xf gpu-bundle.tar.gz && sh gpu-bundle/tree/dev/gpu_run.sh [OUT]
#
# OUT gets gpu.jsonl (figures, a line each as soon as it is known), tests.txt and log.txt. PYTHON names
# the Python to use (python3), which may have torch; MINUTES bounds bench/gpu.py (6.3), OPTIONS are
# more of its options.
set -u
tree=$(cd "$(dirname "$0")/.." && pwd)
bundle=$(dirname "$tree")
out=${1:-$bundle/out}
python=${PYTHON:-python3}
mkdir -p "$out"

"$python" "$tree/dev/gpu_unpack.py" "$bundle/wheels" "$bundle/site" >>"$out/log.txt" 2>&1

export PYTHONPATH="$tree:$bundle/site" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export REKINDLE_CRIU="$bundle/criu" REKINDLE_GPU_BUNDLE="$bundle"
REKINDLE_HOME=$(mktemp -d)
export REKINDLE_HOME
cd "$tree" || exit 1

# shellcheck disable=SC2086 # a list of options
"$python" bench/gpu.py --out "$out" --minutes "${MINUTES:-6.3}" ${OPTIONS:-} 2>>"$out/log.txt"
timeout 80 "$python" -m pytest -m gpu -p no:cacheprovider -o addopts= -q -rA tests/gpu \
    >"$out/tests.txt" 2>&1
tail -n 40 "$out/tests.txt"
cp "$REKINDLE_HOME"/run/rk-*/logs/*.log "$out/" 2>/dev/null
exit 0
