"""The other supported Debian: a fresh clone in a minimal root that dev/debian_root.py makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "dev" / "debian_root.py"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="making a root needs root")

#: Without PyTorch, which is gigabytes there: uniqueness, real snapshots, calls end to end.
_PART = """
set -e
make --silent doctor
.venv/bin/python -m pip install --quiet --require-hashes --no-deps -r dev/lock/test.txt
.venv/bin/rekindle setup criu
.venv/bin/python -m pytest -q -x tests/snapshot/test_real_criu.py tests/e2e/test_calls.py \
    tests/runtime/agent/pools/test_pools.py tests/controller/storage
"""


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def _roots() -> set[Path]:
    return set(Path("/var/tmp").glob("rekindle-trixie-*"))


@needs_root
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_enters_a_root_of_its_own_and_leaves_nothing_behind() -> None:
    roots, mounts = _roots(), Path("/proc/self/mountinfo").read_text()
    ended = _run("trixie", "sh", "-c", "pwd; . /etc/os-release; echo $VERSION_CODENAME; exit 7")
    assert ended.returncode == 7, ended.stdout
    assert ended.stdout.splitlines()[-2:] == ["/src", "trixie"]
    assert _roots() == roots
    assert Path("/proc/self/mountinfo").read_text() == mounts


@needs_root
@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_snapshots_and_calls_work_on_debian_13() -> None:
    ended = _run("trixie", "sh", "-c", _PART)
    assert ended.returncode == 0, ended.stdout[-6000:]


@needs_root
@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
@pytest.mark.parametrize("target", ["demo", "test"])
def test_everything_works_from_a_fresh_clone(suite: str, target: str) -> None:
    ended = _run(suite, "make", target)
    assert ended.returncode == 0, ended.stdout[-6000:]
