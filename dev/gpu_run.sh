#!/bin/sh
# On a bare machine with an NVIDIA driver, without a network: everything that needs a GPU, once.
#
#     tar xf gpu-bundle.tar.gz && sh gpu-bundle/tree/dev/gpu_run.sh [OUT]
#
# OUT gets gpu.jsonl (figures, a line each as soon as it is known), tests.txt, log.txt and, of the
# instances that ran, logs.tar.gz. PYTHON names the Python to use, which may have torch; else it is the
# first of python3, python3.13, python3.12 and python3.11 that the bundle has packages for. All of it
# takes less than MINUTES, 8 unless set, also where parts hang. For a second run, which has what the
# first left out: OPTIONS are more options of bench/gpu.py, TESTS names files of tests/gpu, or none.
# HOMES is the full path of a folder on a disk, where snapshots lie meanwhile, /var/tmp unless set.
# Ends with 1 where no figure was written.
set -u
began=$(date +%s)
tree=$(cd "$(dirname "$0")/.." && pwd)
bundle=$(dirname "$tree")
out=${1:-$bundle/out}
mkdir -p "$out" && out=$(cd "$out" && pwd) && echo began >>"$out/log.txt" || {
    echo "nothing can be written into ${out:-${1-}}: the figures are in what is printed alone" >&2
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

# In seconds: all of it but the end, and of that the tests.
all=$("$python" -c "print(int(${MINUTES:-8} * 60 - 25))") && [ "$all" -gt 0 ] || {
    echo "MINUTES=${MINUTES:-}: how long all of it may take, 1 or more" >&2
    exit 1
}
which=${TESTS-starts memory modules snapshots example}
tests=$((all / 10))
[ -n "$which" ] || tests=0

"$python" "$tree/dev/gpu_unpack.py" "$bundle/wheels" "$bundle/site" >>"$out/log.txt" 2>&1 || {
    tail -n 1 "$out/log.txt" >&2
    exit 1
}

# Where nobody has brought the loopback up, as there is no network: CRIU asks for it.
"$python" - >>"$out/log.txt" 2>&1 <<'END'
import fcntl, socket, struct
with socket.socket() as asks:
    name, flags = struct.unpack("16sh22x", fcntl.ioctl(asks, 0x8913, struct.pack("40s", b"lo")))
    if not flags & 1:
        fcntl.ioctl(asks, 0x8914, struct.pack("16sh22x", name, flags | 1))
END

# Once: with nothing compiled, each process that starts would compile what it imports, and every start
# that is measured would have that in it.
timeout -k 5 $((all / 8)) "$python" -m compileall -q -j 0 "$bundle/site" "$tree/rekindle" "$tree/bench" \
    >>"$out/log.txt" 2>&1

# Where an image has the driver's libraries that the loader may not know of.
driver=/usr/local/nvidia/lib64
[ ! -d "$driver" ] || export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$driver"

# For the same reason, and as each file is read from a cold disk once: the machine's own packages, as
# far as they are there and are used below, and the GPU's libraries; whatever the environment says of
# compiling.
env -u PYTHONDONTWRITEBYTECODE timeout -k 5 $((all / 5)) "$python" - >>"$out/log.txt" 2>&1 <<'END'
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
cd "$tree" || exit 1

end_instances() { # of a home, and the home
    REKINDLE_HOME=$1 timeout -k 2 10 "$python" -c \
        'import sys; from rekindle.cli.main import main; sys.exit(main())' down >>"$out/log.txt" 2>&1
    rm -rf "$1"
}

# What a run that was killed left may still have the GPU.
homes=${HOMES:-/var/tmp}
for home in "$homes"/rk-gpu.*; do
    pid=${home##*/rk-gpu.}
    [ ! -d "$home" ] || kill -0 "${pid%.*}" 2>/dev/null || end_instances "$home"
done

# On a disk: snapshots of 8 GB do not fit into a small /tmp in memory.
REKINDLE_HOME=$(mktemp -d "$homes/rk-gpu.$$.XXXX" || mktemp -d)
export REKINDLE_HOME
# From one section to another that needs it: what a run that is killed leaves ends soon.
export REKINDLE_LINGER=2m
finish() {
    (cd "$REKINDLE_HOME/run" && timeout -k 2 8 tar czf "$out/logs.tar.gz" rk-*/logs) >/dev/null 2>&1
    end_instances "$REKINDLE_HOME"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

minutes=$("$python" -c "print($((all - tests - $(date +%s) + began)) / 60)")
eval "set -- ${OPTIONS:-}" # names of sections have spaces
# It has limits of its own; this one is for itself. In the foreground: whoever kills this script with
# its process group ends all of it.
timeout --foreground -k 5 "$("$python" -c "print($minutes * 60 + 20)")" \
    "$python" bench/gpu.py --out "$out" --minutes "$minutes" "$@" 2>>"$out/log.txt"
# The most important ones first. Each test's result as it is known, and a summary also where time is
# over; none of the plugins of the machine's own pytest, which need not go with the bundle's.
left=$((all - $(date +%s) + began))
set --
for one in $which; do
    set -- "$@" "tests/gpu/test_$one.py"
done
if [ $# -gt 0 ] && [ $left -ge 5 ]; then
    PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 timeout -s INT -k 5 $left \
        "$python" -m pytest -m gpu -p no:cacheprovider -o addopts= -v -rA "$@" \
        >"$out/tests.txt" 2>&1
    tail -n 40 "$out/tests.txt"
else
    echo "no tests were run: $left s were left for: ${which:-none}" | tee "$out/tests.txt"
fi
[ -s "$out/gpu.jsonl" ]
