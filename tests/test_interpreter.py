"""Pythons that rekindle does not run on are refused before anything else happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: As a free-threaded build says of itself.
_FREE_THREADED = "import sys; sys.abiflags += 't'; "


@pytest.mark.parametrize("module", ["rekindle", "rekindle.cli.console", "rekindle.runtime.agent"])
def test_a_free_threaded_build_of_python_is_refused_with_words(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{_FREE_THREADED} import {module}"], capture_output=True, text=True
    )
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ImportError: rekindle does not run on a free-threaded build"), said
    assert sys.executable in said and "Use the usual build" in said


def test_no_virtual_environment_is_made_of_a_free_threaded_build(tmp_path: Path) -> None:
    python = tmp_path / "python3.13t"
    python.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "{_FREE_THREADED} exec(sys.argv[1])" "$2"\n'
    )
    python.chmod(0o755)
    script = [ROOT / "dev" / "venv.sh", python, tmp_path / "venv"]
    done = subprocess.run(["sh", *script], capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "venv").exists()
    assert f"error: {python} is a free-threaded build of Python" in done.stderr
    assert "make PYTHON=" in done.stderr
