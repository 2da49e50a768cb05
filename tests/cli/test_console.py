"""Ctrl-C while a command is being loaded: the status of an interrupt, and not a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_CONSOLE = "from rekindle.cli.console import main; main()"
#: A module that is loaded in place of another one, and says so.
_STOPS = "import os, signal\nos.write(1, b'.')\nwhile True:\n    signal.pause()\n"


@pytest.mark.parametrize(
    ("module", "argv"),
    [
        ("click", ["status"]),
        ("click", ["run", "--help"]),
        ("rich", ["dict", "list"]),
        ("cloudpickle", ["run", "program.py"]),
    ],
)
def test_an_interrupt_while_a_command_is_loaded_ends_it_without_a_word(
    tmp_path: Path, module: str, argv: list[str]
) -> None:
    (tmp_path / f"{module}.py").write_text(_STOPS)
    (tmp_path / "program.py").write_text("import cloudpickle\n")
    process = subprocess.Popen(
        [sys.executable, "-c", _CONSOLE, *argv],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(1) == b"."
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"")


def test_the_console_script_begins_there() -> None:
    with (_ROOT / "pyproject.toml").open("rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    assert scripts == {"rekindle": "rekindle.cli.console:main"}


def test_an_interrupt_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As of ``nohup`` and of what a shell runs in the background."""
    code = (
        "import signal\nfrom rekindle.cli import console, main\n"
        "main.main = lambda: print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nconsole.main()\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "True\n"


def test_a_command_whose_reader_has_gone_ends_without_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from rekindle.cli.main import run; import sys; sys.exit(run(['--help']))"
    ended = subprocess.run(
        [sys.executable, "-u", "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_another_pipe_that_broke_is_no_reader_that_has_gone() -> None:
    code = (
        "from rekindle.cli import group, main\n"
        "def ended(argv): raise BrokenPipeError('of a child')\n"
        "group.run = ended\nmain.run(['status'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1 and "BrokenPipeError: of a child" in ended.stderr


def test_an_end_of_file_within_a_command_is_no_interrupt() -> None:
    """Of a module's bytecode that a full disk has cut short, say."""
    code = (
        "from rekindle.cli import main, status\n"
        "def ended(**_): raise EOFError('of bytecode')\n"
        "status.status.callback = ended\nsys.exit(main.run(['status']))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1 and "EOFError: of bytecode" in ended.stderr
