"""What bench/micro times can be called: it is no part of the suite, and mypy does not read it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_all_that_is_timed_alone_can_be_called(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-o", "addopts=", f"--basetemp={tmp_path}"),
            *("-p", "no:benchmark", "-p", "no:xdist", "-p", "no:faker", "-p", "no:anyio"),
            *("-p", "no:valkey", "-p", "tests.bench.called_once", "bench/micro"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-1000:]
