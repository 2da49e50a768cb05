"""What one of several inputs prints: when it goes out, and whose it is in a child."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rekindle.runtime.runner.many import prints
from rekindle.runtime.runner.many.prints import Prints
from rekindle.wire.page import untagged


class Pipe:
    """What an agent reads."""

    def __init__(self) -> None:
        self._reading, self.fd = os.pipe()
        os.set_blocking(self._reading, False)
        fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, 1 << 20)

    def lines(self) -> list[str]:
        """What has come, each with its call."""
        try:
            data = os.read(self._reading, 1 << 20)
        except BlockingIOError:
            return []
        *lines, rest = data.decode().split("\n")
        assert not rest
        found = [untagged(line) for line in lines]
        assert {call for call, _line in found} == {"fc-1"}
        return [line for _call, line in found]

    def close(self) -> None:
        os.close(self._reading)
        os.close(self.fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_a_line_goes_out_with_its_end_and_the_last_one_with_its_input(pipe: Pipe) -> None:
    one = Prints("fc-1")
    for text in ("a", "b", "c\nd\ne"):
        one.write(pipe.fd, text)
    assert pipe.lines() == ["abc", "d"]
    one.finish()
    assert pipe.lines() == ["e"]
    one.finish()
    assert pipe.lines() == []


def test_text_without_an_end_is_kept_up_to_a_limit_in_time_that_grows_with_its_size(
    pipe: Pipe,
) -> None:
    one = Prints("fc-1")
    for _ in range(prints._MOST_KEPT):
        one.write(pipe.fd, "x")
    assert pipe.lines() == [] and len(one.parts[pipe.fd]) == prints._MOST_KEPT
    one.write(pipe.fd, "yz\n")
    assert pipe.lines() == ["x" * prints._MOST_KEPT + "yz"]
    one.write(pipe.fd, "x" * prints._MOST_KEPT)
    one.write(pipe.fd, "y")
    assert pipe.lines() == ["x" * prints._MOST_KEPT + "y"]


@pytest.mark.parametrize("form", ["\r{}", "{}\r"])
def test_a_bar_goes_out_while_it_grows_and_not_each_time(
    pipe: Pipe, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(prints, "monotonic", lambda: now)
    one = Prints("fc-1")
    one.write(pipe.fd, form.format("1 of 9"))
    one.write(pipe.fd, form.format("2 of 9"))
    assert [line.strip("\r") for line in pipe.lines()] == ["1 of 9"]
    one.write(pipe.fd, form.format("3 of 9"))
    assert pipe.lines() == []
    now += 2 * prints._BAR_S
    one.write(pipe.fd, form.format("4 of 9"))
    assert "".join(pipe.lines()).strip("\r") == "2 of 9\r3 of 9"
    one.finish()
    assert "".join(pipe.lines()).strip("\r") == "4 of 9"


def test_the_end_of_a_line_of_other_systems_is_one_end(pipe: Pipe) -> None:
    one = Prints("fc-1")
    for text in ("a", "\r", "\n", "b\r\n"):
        one.write(pipe.fd, text)
    assert pipe.lines() == ["a\r", "b\r"]


def test_a_stream_of_another_encoding_may_take_the_place_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", original)
    monkeypatch.setattr(sys, "stderr", original)
    prints.install()
    ours: Any = sys.stdout
    other = io.TextIOWrapper(ours.detach(), encoding="utf-8")
    other.write("é")
    other.flush()
    assert other.buffer.getvalue() == "é".encode()


@pytest.mark.parametrize(
    "ends",
    ["sys.stdout = io.TextIOWrapper(ours.detach())", "ours._original.close(); sys.stdout = None"],
)
def test_nothing_is_said_where_a_stream_goes_whose_original_went_before(ends: str) -> None:
    """With -X dev each Python says what goes wrong as an object goes; from 3.13 on all do."""
    code = (
        "import gc, io, sys\n"
        "from rekindle.runtime.runner.many import prints\n"
        "sys.stdout = io.TextIOWrapper(io.BytesIO())\n"
        f"prints.install(); ours = sys.stdout; {ends}; del ours; gc.collect()\n"
    )
    shown = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", code],
        check=True,
        capture_output=True,
        text=True,
    ).stderr
    assert shown == ""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stream of user code, whose original is a file."""
    with open(os.devnull, "w", encoding="utf-8", errors="backslashreplace") as file:
        monkeypatch.setattr(sys, "stdout", file)
        monkeypatch.setattr(sys, "stderr", file)
        prints.install()
        yield sys.stdout


def test_the_stream_says_what_the_original_is_and_is_put_in_place_once(
    installed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (installed.encoding, installed.errors) == ("utf-8", "backslashreplace")
    monkeypatch.setattr(sys, "stdout", installed)  # pytest has its own again
    monkeypatch.setattr(sys, "stderr", installed)
    prints.install()
    assert sys.stdout is installed


def test_a_child_that_is_forked_while_another_prints_prints_for_itself(
    installed: Any, pipe: Pipe
) -> None:
    prints.current.set(one := Prints("fc-1"))
    one.write(pipe.fd, "of the parent")
    holds, go_on = threading.Event(), threading.Event()

    def print_beside() -> None:
        with prints._lock:
            holds.set()
            go_on.wait()

    beside = threading.Thread(target=print_beside)
    beside.start()
    holds.wait()
    if (pid := os.fork()) == 0:
        signal.alarm(20)  # where it hangs
        one.write(pipe.fd, "of the child")
        installed.flush()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    go_on.set()
    beside.join()
    prints.current.set(None)
    assert status == 0
    assert pipe.lines() == ["of the child"]
    one.finish()
    assert pipe.lines() == ["of the parent"]


def test_a_handler_of_a_signal_prints_while_its_thread_does(installed: Any, pipe: Pipe) -> None:
    """In a child, as this process would hang with it."""
    prints.current.set(one := Prints("fc-1"))
    if (pid := os.fork()) == 0:
        signal.alarm(20)
        signal.signal(signal.SIGUSR1, lambda *_: one.write(pipe.fd, "of the handler\n"))
        with prints._lock:
            os.kill(os.getpid(), signal.SIGUSR1)
            signal.sigtimedwait([], 0)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    prints.current.set(None)
    assert status == 0
    assert pipe.lines() == ["of the handler"]
