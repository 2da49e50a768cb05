"""Make one file with all that a bare machine with a GPU needs: ``gpu_bundle.py OUTPUT``.

The tree as it is (without what git ignores), the private CRIU, rekindle's packages as wheels for
each Python that it runs on, and the C program of bench/on_gpu. Not torch: it is on the machine, or
its figures say that it is not. dev/gpu_run.sh, in the bundle's tree, is what is run there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
#: Small enough to be carried together with a whole tree in 64 MiB.
LIMIT_BYTES = 50 << 20
PYTHONS = ("3.11", "3.12", "3.13")
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
#: NVML, pytest, what tests/conftest.py imports, and what these need that is in no base.
_TESTS_NEED = (
    *("nvidia-ml-py", "pytest", "iniconfig", "packaging", "pluggy"),
    *("hypothesis", "sortedcontainers"),
)
_CRIU = Path(sys.prefix) / "share" / "rekindle" / "criu"
#: Of CRIU's prefix: what it does not need to run.
_LEFT_OUT = (
    *("usr/share", "usr/lib/systemd", "etc"),
    *("usr/lib/x86_64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/compel"),
)
#: Of the tree: figures and pictures of other runs.
_NOT_THERE = re.compile(r"bench/results/|.*\.png$|examples/data/")


def main() -> int:
    """Make it; 1 where it is too large."""
    output = Path(sys.argv[1])
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        bundle = Path(name, "gpu-bundle")
        bundle.mkdir()
        _tree(bundle / "tree")
        _wheels(bundle / "wheels")
        _criu(bundle / "criu")
        _program(bundle / "bin")
        with tarfile.open(output, "w:gz") as archive:
            archive.add(bundle, "gpu-bundle")
    size = output.stat().st_size
    sys.stdout.write(f"{output}: {size / (1 << 20):.1f} MiB\n")
    if size > LIMIT_BYTES:
        sys.stderr.write(f"larger than {LIMIT_BYTES >> 20} MiB\n")
        return 1
    return 0


def _tree(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TREE,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source = TREE / name
        if name and source.is_file() and not _NOT_THERE.match(name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def _wheels(target: Path) -> None:
    """What dev/lock names, checked by its hashes; what is the same for each Python once."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("".join(_locked()))
        wanted.flush()
        for python in PYTHONS:
            directory = target / python
            argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
            argv += ["--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
            argv += ["--python-version", python, "--implementation", "cp"]
            for platform in _PLATFORMS:
                argv += ["--platform", platform]
            argv += ["--dest", str(directory), "--requirement", wanted.name]
            subprocess.run(argv, check=True)
    common = target / "any"
    common.mkdir()
    kept = {wheel.name for wheel in (target / PYTHONS[0]).iterdir()}
    for python in PYTHONS[1:]:
        kept &= {wheel.name for wheel in (target / python).iterdir()}
    for name in kept:
        shutil.move(target / PYTHONS[0] / name, common / name)
        for python in PYTHONS[1:]:
            (target / python / name).unlink()


def _locked() -> list[str]:
    """Requirements of a base installation, of NVML, and of tests/gpu."""
    base = (TREE / "dev" / "lock" / "base.txt").read_text(encoding="utf-8")
    tests = (TREE / "dev" / "lock" / "test.txt").read_text(encoding="utf-8")
    # For whichever of the Pythons needs them: pip would ask the one that it runs in.
    found = [re.sub(r" ; .* \\\n", r" \\\n", one, count=1) for one in _entries(base)]
    found = [one for one in found if not one.startswith("setuptools=")]
    return found + [one for one in _entries(tests) if one.partition("==")[0] in _TESTS_NEED]


def _entries(text: str) -> list[str]:
    """Each with the lines of its hashes, which are indented."""
    return re.findall(r"^[a-zA-Z].*\n(?:[ \t].*\n)*", text, re.M)


def _criu(target: Path) -> None:
    if not (_CRIU / "usr" / "sbin" / "criu").exists():
        sys.exit("no private CRIU here: run `rekindle setup criu`")
    left_out = {_CRIU / name for name in _LEFT_OUT}

    def ignored(directory: str, names: list[str]) -> set[str]:
        return {name for name in names if Path(directory, name) in left_out}

    shutil.copytree(_CRIU, target, symlinks=True, ignore=ignored)


def _program(target: Path) -> None:
    """For a machine without a compiler."""
    target.mkdir()
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.stderr.write("no C compiler: the bundle is without bin/context\n")
        return
    source = TREE / "bench" / "on_gpu" / "context.c"
    subprocess.run([compiler, "-O2", "-o", target / "context", source, "-ldl"], check=True)


if __name__ == "__main__":
    sys.exit(main())
