"""A program or command that is started in a directory that was deleted: it is said what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rekindle

_PROGRAM = """
import rekindle

app = rekindle.App("deleted")

@app.function()
def f(): ...

if __name__ == "__main__":
    with app.run():
        f.remote()
"""
_SAID = "the working directory was deleted: change (cd) into one that is there"


def _err(argv: list[str], where: Path) -> str:
    """What is said on standard error of Python so called, in a directory that is gone."""
    gone = where / "gone"
    gone.mkdir()
    ended = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", sys.executable, *argv],
        cwd=gone,
        env={**os.environ, "REKINDLE_HOME": str(where / "home"), "REKINDLE_LINGER": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    return ended.stderr


def test_python_shows_the_programs_frames_and_what_to_do(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    err = _err([str(program)], tmp_path)
    assert err.splitlines()[-1] == f"rekindle.exception.InvalidError: {_SAID}"
    assert str(Path(rekindle.__file__).parent) not in err and str(program) in err


def test_python_without_a_file_says_it_too(tmp_path: Path) -> None:
    err = _err(["-c", _PROGRAM], tmp_path)
    assert err.splitlines()[-1] == f"rekindle.exception.InvalidError: {_SAID}"


@pytest.mark.parametrize(
    "argv",
    [
        ["run", "PROGRAM"],
        ["run", "program.py"],
        ["run", "-m", "program"],
        ["deploy", "PROGRAM"],
        ["serve", "PROGRAM"],
        ["shell", "PROGRAM"],
        ["image", "build", "PROGRAM"],
        ["bench", "PROGRAM"],
        ["setup", "criu", "--prefix", "here"],
    ],
    ids=" ".join,
)
def test_a_command_says_it_in_a_line(argv: list[str], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    given = [str(program) if one == "PROGRAM" else one for one in argv]
    err = _err(["-m", "rekindle", *given], tmp_path)
    assert err.splitlines()[0] == f"Error: {_SAID}" and len(err.splitlines()) == 2
