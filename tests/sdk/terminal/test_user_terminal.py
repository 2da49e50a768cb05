"""A terminal and its copy, on real pseudo-terminals."""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.exception import InvalidError
from rekindle.sdk.terminal.user_terminal import UserTerminal


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of the terminal that this process has as standard input."""
    leader, follower = os.openpty()
    with os.fdopen(follower, "rb", buffering=0) as stdin:
        monkeypatch.setattr(sys, "__stdin__", stdin)
        yield leader
    os.close(leader)


def test_a_copy_has_the_size_and_passes_on_what_is_typed_and_written(screen: int) -> None:
    termios.tcsetwinsize(screen, (20, 71))
    terminal = UserTerminal()
    before = termios.tcgetattr(screen)
    copy = terminal.open_copy()
    terminal.pass_through()
    assert termios.tcgetwinsize(copy.follower) == (20, 71)
    os.write(screen, b"ab\x03\r")
    typed = terminal.read()
    assert typed == b"ab\x03\r"  # none of it is this terminal's business any more
    copy.type(b"ab\r")
    assert os.read(copy.follower, 100) == b"ab\n"
    copy.resize((21, 72))
    assert termios.tcgetwinsize(copy.follower) == (21, 72)
    os.write(copy.follower, b"said\n")
    copy.let_follower_go()
    written = copy.rest()
    assert written == b"ab\r\nsaid\r\n"  # the echo, too
    terminal.write(written)
    assert os.read(screen, 100) == written  # no second \\r
    terminal.as_before()
    assert termios.tcgetattr(screen) == before
    copy.close()
    terminal.close()


def test_what_translates_its_newlines_itself_is_not_translated_again(screen: int) -> None:
    terminal = UserTerminal()
    copy = terminal.open_copy()
    terminal.pass_through()
    modes = termios.tcgetattr(copy.follower)
    modes[1] &= ~termios.OPOST
    termios.tcsetattr(copy.follower, termios.TCSANOW, modes)
    os.write(copy.follower, b"down\n")
    terminal.write(copy.read())
    assert os.read(screen, 100) == b"down\n"
    copy.close()
    terminal.close()


def test_typing_does_not_wait_for_who_does_not_read(screen: int) -> None:
    terminal = UserTerminal()
    copy = terminal.open_copy()
    modes = termios.tcgetattr(copy.follower)
    modes[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(copy.follower, termios.TCSANOW, modes)
    typed = bytes(range(97, 107)) * 10_000
    copy.type(typed)
    assert copy.is_full
    got = b""
    while len(got) < len(typed):
        got += os.read(copy.follower, 4096)
        copy.type()
    assert got == typed and not copy.is_full
    copy.close()
    terminal.close()


def test_without_a_terminal_it_is_said_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = os.fork()
    if pid == 0:  # without a controlling terminal, whoever runs the tests has one
        os.setsid()
        monkeypatch.setattr(sys, "__stdin__", open(tmp_path / "file", "w+"))  # noqa: SIM115
        try:
            UserTerminal()
        except InvalidError as error:
            os._exit(0 if "ssh -t" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
