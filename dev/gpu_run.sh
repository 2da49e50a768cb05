#!/bin/sh
# On a bare machine with an NVIDIA driver, without a network: everything that needs a GPU, once.
#
#     tar xf gpu-bundle.tar.gz && sh gpu-bundle/tree/dev/gpu_run.sh [OUT]
#
# OUT gets gpu.jsonl (figures, a line each as soon as it is known), tests.txt, log.txt and, of the
# instances that ran, logs.tar.gz. PYTHON names the Python to use, which may have torch; else it is the
# first of python3, python3.13, python3.12 and python3.11 that the bundle has packages for. All of it
# takes less than eight minutes, also where parts hang; MINUTES bounds bench/gpu.py otherwise, OPTIONS are
# more of its options.
# Ends with 1 where no figure was written.
set -u
began=$(date +%s)
# In seconds: all of it but the end, and of that the tests.
all=455 tests=45
tree=$(cd "$(dirname "$0")/.." && pwd)
bundle=$(dirname "$tree")
out=${1:-$bundle/out}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1
echo began >>"$out/log.txt" || {
    echo "nothing can be written into $out: the figures are in what is printed alone" >&2
    out=$(mktemp -d) || exit 1
}
# Before anything is unpacked: CRIU, Redis and compiled packages are run where the bundle lies.
"$bundle/criu/usr/sbin/criu" --version >>"$out/log.txt" 2>&1
if [ $? -eq 126 ]; then
    echo "nothing was measured: no program may be run in $bundle (mounted noexec?)." \
        "Unpack the bundle elsewhere" | tee -a "$out/log.txt" >&2
    exit 1
fi

python='' tried=''
for one in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    found=$("$one" -c 'import sys; print("%d.%d %s" % (sys.version_info[:2] + (sys.executable,)))' \
        2>>"$out/log.txt") || continue
    tried="$tried, $one is ${found%% *}"
    if [ -d "$bundle/wheels/${found%% *}" ]; then
        python=${found#* }
        break
    fi
done
if [ -z "$python" ] || [ "$(uname -m)" != x86_64 ]; then
    echo "nothing was measured: the bundle is for x86_64 and Python" \
        "$(cd "$bundle/wheels" && echo 3.*); this is $(uname -m)${tried:-, without a Python}." \
        "PYTHON=/path/to/python names another one" | tee -a "$out/log.txt" >&2
    exit 1
fi

"$python" "$tree/dev/gpu_unpack.py" "$bundle/wheels" "$bundle/site" >>"$out/log.txt" 2>&1 || {
    tail -n 1 "$out/log.txt" >&2
    exit 1
}

# Once: with nothing compiled, each process that starts would compile what it imports, and every start
# that is measured would have that in it.
timeout -k 5 60 "$python" -m compileall -q -j 0 "$bundle/site" "$tree/rekindle" "$tree/bench" \
    >>"$out/log.txt" 2>&1

# Where an image has the driver's libraries that the loader may not know of.
driver=/usr/local/nvidia/lib64
[ ! -d "$driver" ] || export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$driver"

# For the same reason, and as each file is read from a cold disk once: the machine's own packages, as
# far as they are there and are used below, and the GPU's libraries; whatever the environment says of
# compiling.
env -u PYTHONDONTWRITEBYTECODE timeout -k 5 90 "$python" - >>"$out/log.txt" 2>&1 <<'END'
import time
started = time.monotonic()
try:
    import torch
    if torch.cuda.is_available():
        print(float((torch.ones(64, 64, device="cuda") @ torch.ones(64, 64, device="cuda")).sum()))
    from transformers import BertConfig, BertModel
except Exception as error:
    print(f"{type(error).__name__}: {error}")
print(f"warmed up in {time.monotonic() - started:.1f} s")
END

# Its own packages may be found by this alone.
export PYTHONPATH="$tree:$bundle/site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export REKINDLE_CRIU="$bundle/criu" REKINDLE_GPU_BUNDLE="$bundle"
# On a disk: snapshots of 8 GB do not fit into a small /tmp in memory.
REKINDLE_HOME=$(mktemp -d /var/tmp/rk.XXXXXX || mktemp -d)
export REKINDLE_HOME
cd "$tree" || exit 1

finish() {
    (cd "$REKINDLE_HOME/run" && timeout -k 2 8 tar czf "$out/logs.tar.gz" rk-*/logs) >/dev/null 2>&1
    timeout -k 2 10 "$python" -c 'import sys; from rekindle.cli.main import main; sys.exit(main())' \
        down >>"$out/log.txt" 2>&1
    rm -rf "$REKINDLE_HOME"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

left=$((all - tests - $(date +%s) + began))
minutes=${MINUTES:-$("$python" -c "print($left / 60)")}
eval "set -- ${OPTIONS:-}" # names of sections have spaces
# It has limits of its own; this one is for itself.
timeout -k 5 "$("$python" -c "print($minutes * 60 + 20)")" \
    "$python" bench/gpu.py --out "$out" --minutes "$minutes" "$@" 2>>"$out/log.txt"
# The most important ones first. Each test's result as it is known, and a summary also where time is
# over; none of the plugins of the machine's own pytest, which need not go with the bundle's.
left=$((all - $(date +%s) + began))
[ -z "${MINUTES:-}" ] || [ $left -ge $tests ] || left=$tests
[ $left -ge 20 ] || left=20
set --
for one in starts memory modules snapshots example; do
    set -- "$@" "tests/gpu/test_$one.py"
done
PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 timeout -s INT -k 5 $left \
    "$python" -m pytest -m gpu -p no:cacheprovider -o addopts= -v -rA "$@" \
    >"$out/tests.txt" 2>&1
tail -n 40 "$out/tests.txt"
[ -s "$out/gpu.jsonl" ]
