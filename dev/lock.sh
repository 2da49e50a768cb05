#!/bin/sh
# Resolve what `make` installs, anew: dev/lock.sh PYTHON [PACKAGE...]
#
# Writes dev/lock/*.txt: exact versions with hashes, for every Linux, x86_64 and aarch64, and every
# Python from the oldest that pyproject.toml allows on. What is locked stays as it is where it still fits;
# PACKAGEs (or all, for the word "all") are taken in their newest versions. Needs a package index and
# about ten seconds; the resolver, uv, lives in an environment of its own.
#
# PyTorch is not in it: which build is wanted depends on the machine (the CPU's from a local folder, or
# the index's with CUDA), and so its hash does. pyproject.toml names its one version, which make installs
# after the lock; what it needs of small packages is in dev/lock/torch.in, and so in the lock.
set -eu
cd "$(dirname "$0")/.."
python=$1
shift
uv=.venv-lock/bin/uv

if [ ! -x "$uv" ]; then
    sh dev/venv.sh "$python" .venv-lock
    .venv-lock/bin/python -m pip --disable-pip-version-check --no-input install --quiet uv
fi

renew=""
for package in "$@"; do
    if [ "$package" = all ]; then renew="--upgrade"; break; fi
    renew="$renew --upgrade-package $package"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "torch ; sys_platform == 'never'" >"$work/without-torch.txt"

# compile OUTPUT [OPTION...]: what is in the file that is renewed is kept where it fits.
compile() {
    output=$1
    shift
    # shellcheck disable=SC2086 # $renew is a list of options
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-annotate --no-emit-index-url --override "$work/without-torch.txt" \
        --output-file "$output" "$@" pyproject.toml
}

# Everything together first, so that no two files disagree; then each by itself, within that.
test ! -f dev/lock/all.txt || cp dev/lock/all.txt "$work/all.txt"
compile "$work/all.txt" --extra demo --extra test --extra lint --extra micro $renew dev/lock/build.in dev/lock/torch.in
for name in base demo test lint micro; do
    case $name in
    base) what="--extra server dev/lock/build.in" ;;
    demo) what="--extra demo dev/lock/torch.in" ;;
    test) what="--extra test dev/lock/build.in" ;;
    lint) what="--extra lint dev/lock/build.in" ;;
    micro) what="--extra micro dev/lock/build.in" ;;
    esac
    # shellcheck disable=SC2086 # a list of options
    compile "$work/$name.txt" --constraint "$work/all.txt" $what
done

# Kept for the next run, and the one file whose versions are looked at.
for name in all base demo test lint micro; do
    .venv-lock/bin/python dev/lock_clean.py "$work/$name.txt" >"dev/lock/$name.txt"
done
grep -c '^[a-z]' dev/lock/all.txt | sed 's/$/ packages are locked in dev\/lock/'
