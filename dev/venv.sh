#!/bin/sh
# Make a virtual environment: dev/venv.sh PYTHON DIRECTORY
#
# Debian splits pip's bootstrap (ensurepip) from its python3 package. Where it is missing, pip comes
# from the Python's own pip module, or from the package python3-pip-whl, unpacked without installing
# it. Neither needs root. When nothing works, says what to install.
set -eu

python=$1
directory=$2

fail() {
    printf 'error: %s\n' "$@" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    fail "$python is not on the PATH; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is $("$python" -V 2>&1); rekindle needs Python 3.11 or newer. Name another one: make PYTHON=/path/to/python3.11"
"$python" -c 'import sys; sys.exit("t" in sys.abiflags)' ||
    fail "$python is a free-threaded build of Python, on which rekindle does not run. Name the usual one: make PYTHON=/path/to/python3.13"

if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    "$python" -m venv "$directory"
    exit 0
fi

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
hint="install it and run make again: apt-get install python3-venv (or python$version-venv)"
"$python" -c 'import venv' >/dev/null 2>&1 || fail "$python has no venv module; $hint"

echo "    this Python has no ensurepip; making the environment without it"
"$python" -m venv --without-pip "$directory"
unpacked=""
trap 'rm -rf ${unpacked:+"$unpacked"}' EXIT

if "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m pip --python "$directory/bin/python" install --quiet pip && exit 0
fi
if command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1; then
    unpacked=$(mktemp -d)
    chmod 755 "$unpacked" # apt's own user writes the file when root asks
    if (cd "$unpacked" && apt-get download --quiet python3-pip-whl && dpkg -x ./*.deb .) >/dev/null 2>&1; then
        wheel=$(find "$unpacked" -name 'pip-*.whl' | head -n 1)
        if [ -n "$wheel" ]; then
            "$directory/bin/python" "$wheel/pip" install --quiet --no-index "$wheel" && exit 0
        fi
    fi
fi
rm -rf "$directory"
fail "pip cannot be put into a virtual environment: this Python has no ensurepip; $hint"
