"""What a command says whose standard output cannot be written to, or is closed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.cli.group import cli
from tests.sdk.fake_controller import FakeController

_CONSOLE = [sys.executable, "-c", "from rekindle.cli.console import main; main()"]
_COMMANDS = [
    ["--help"],
    ["--version"],
    ["completion", "bash"],
    ["tune", "--help"],
    ["volume", "list"],
    ["snapshot", "list"],
    ["image", "list"],
    *([name, "--help"] for name in sorted(cli.list_commands(None))),  # type: ignore[arg-type]
]


@pytest.fixture
def unread() -> Iterator[int]:
    """A pipe to write to whose reader has gone."""
    reads, writes = os.pipe()
    os.close(reads)
    yield writes
    os.close(writes)


def _ended(
    argv: list[str], where: Path, output: str, stdin: int | None = None, *, unbuffered: bool = False
) -> tuple[int, str]:
    """The status and what is said on standard error, with output as the shell writes it."""
    variables = {"REKINDLE_HOME": str(where / "home"), "REKINDLE_LINGER": "0"}
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {output}', "sh", *_CONSOLE, *argv],
        cwd=where,
        env={**os.environ, **variables, "PYTHONUNBUFFERED": "1" if unbuffered else ""},
        stdin=stdin,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("argv", _COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_plain_line(argv: list[str], tmp_path: Path) -> None:
    status, err = _ended(argv, tmp_path, "> /dev/full")
    said = (
        "Error: what is printed cannot be written to standard output: No space left on device; "
        "what the command has done stays done"
    )
    assert status == 1 and err.splitlines()[0] == said and len(err.splitlines()) == 2


@pytest.mark.parametrize("argv", _COMMANDS[:7], ids=" ".join)
def test_a_closed_output_is_no_error(argv: list[str], tmp_path: Path) -> None:
    assert _ended(argv, tmp_path, ">&-") == (0, "")


@pytest.mark.parametrize("argv", _COMMANDS[:7], ids=" ".join)
def test_a_reader_that_has_gone_is_no_error(argv: list[str], tmp_path: Path, unread: int) -> None:
    assert _ended(argv, tmp_path, ">&0", unread, unbuffered=True) == (0, "")


@pytest.mark.parametrize("output", ["2>&0", "> /dev/full 2>&1"])
@pytest.mark.parametrize(
    ("argv", "status"),
    [(["status"], 1), (["stauts"], 2), (["volume", "ls", "none"], 1), (["run", "none.py"], 1)],
    ids=str,
)
def test_an_error_that_nobody_reads_is_one_all_the_same(
    argv: list[str], status: int, output: str, tmp_path: Path, unread: int
) -> None:
    assert _ended(argv, tmp_path, output, unread) == (status, "")


def test_a_program_that_failed_has_failed_whether_its_reader_has_gone_or_not(
    tmp_path: Path, unread: int
) -> None:
    (tmp_path / "program.py").write_text("print('begins')\nraise ValueError('mine')\n")
    status, err = _ended(["run", "program.py"], tmp_path, ">&0", unread)
    assert status == 1 and err.endswith("\nValueError: mine\n")


@pytest.mark.parametrize("change", [".close()", " = None"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_program_may_end_or_replace_its_streams(stream: str, change: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import sys, rekindle\n"
        "app = rekindle.App()\n"
        "@app.local_entrypoint()\n"
        f"def main(): sys.{stream}{change}\n"
    )
    assert _ended(["run", "-q", "program.py"], tmp_path, "") == (0, "")


@pytest.mark.parametrize("command", ["top", "top --once", "status", "container list --json"])
def test_who_reads_of_an_instance_may_go(
    controller: FakeController, command: str, tmp_path: Path, unread: int
) -> None:
    assert _ended(command.split(), tmp_path, ">&0", unread) == (0, "")


def test_another_file_that_is_full_is_no_output_that_is_lost(tmp_path: Path) -> None:
    code = (
        "from rekindle.cli import group, main\n"
        "def ended(argv):\n"
        "    with open('/dev/full', 'w') as file: file.write('x')\n"
        "group.run = ended\nmain.run(['status'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ended.returncode == 1 and "Traceback" in ended.stderr
