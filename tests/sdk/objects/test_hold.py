"""What keeps an ephemeral object."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rekindle.exception import AuthError, Error, NotFoundError, ServiceError
from rekindle.sdk.objects import hold as hold_module
from rekindle.sdk.objects.direct import Gone
from rekindle.sdk.objects.hold import Hold
from rekindle.wire import object_frames as wire


class BackSoon:
    """A link to a controller that goes as it is asked, and is back the next time."""

    instance = Path("/")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._asked = 0

    def connected(self, _session: bytes) -> socket.socket:
        self._asked += 1
        if self._asked == 1:
            raise Gone("it closed the connection")
        return self._sock


def _thread() -> threading.Thread:
    [found] = [one for one in threading.enumerate() if one.name == "rekindle-hold"]
    return found


def test_an_object_is_held_once_a_controller_that_went_is_back() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(30)
        theirs.sendall(wire.pack_reply(0, wire.Status.DONE))
        link: Any = BackSoon(ours)
        hold = Hold(link, "di-1")
        hold.begin()
        thread = _thread()
        assert wire.parse_request(theirs.recv(1 << 12))[2].op == wire.Op.HOLD
        hold.end()
        thread.join(30)
    assert not thread.is_alive() and ours.fileno() == -1


class EndedMeanwhile(BackSoon):
    """One whose object is ended just as it answers again."""

    hold: Hold

    def connected(self, session: bytes) -> socket.socket:
        if self._asked:
            self.hold.end()
        return super().connected(session)


def test_one_that_is_ended_as_it_is_held_again_keeps_no_connection() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(wire.pack_reply(0, wire.Status.DONE))
        link: Any = EndedMeanwhile(ours)
        link.hold = Hold(link, "di-1")
        link.hold.begin()
        for thread in threading.enumerate():
            if thread.name == "rekindle-hold":
                thread.join(30)
        assert ours.fileno() == -1


def test_one_that_is_ended_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hold_module, "_TELL_AFTER_S", 0.0)
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(wire.pack_reply(0, wire.Status.DONE))
        link: Any = BackSoon(ours)
        hold = Hold(link, "di-1")
        hold.begin()
        thread = _thread()
        theirs.settimeout(30)
        theirs.recv(1 << 12)
        hold.end()
        thread.join(30)
    assert not capsys.readouterr().err


class Fails:
    """A link over which nothing can be held, some times; then the object has gone.

    That it cannot be at once is told to who makes it, unless the controller has just gone.
    """

    def __init__(self, error: Error, instance: Path) -> None:
        self.instance = instance
        self.left, self._error = 9, error

    def connected(self, _session: bytes) -> socket.socket:
        if self.left == 0:
            raise NotFoundError("it was deleted")
        self.left -= 1
        raise Gone("it closed the connection") if self.left == 8 else self._error


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it was to be waited, each time; nobody waits."""
    found: list[float] = []

    class Passed(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout is None:
                return super().wait()
            found.append(timeout)
            return self.is_set()

    # Its own alone: other threads of this process wait for what is real.
    own = SimpleNamespace(**{**vars(threading), "Event": Passed})
    monkeypatch.setattr(hold_module, "threading", own)
    return found


def _end_of(link: Any) -> None:
    others = set(threading.enumerate())  # of objects that tests before these have left
    Hold(link, "di-1").begin()
    for thread in set(threading.enumerate()) - others:
        if thread.name == "rekindle-hold":
            thread.join()


@pytest.mark.parametrize("error", [AuthError("not yours"), ServiceError("Redis is away")])
def test_what_cannot_be_held_is_tried_ever_less_often_and_told_once(
    error: Error,
    pauses: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hold_module, "_TELL_AFTER_S", 0.0)
    _end_of(Fails(error, tmp_path))
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    [told] = [line for line in capsys.readouterr().err.splitlines() if "di-1" in line]
    assert told == f"di-1 is not held, and may be deleted: {error}; it is tried again"


def test_what_is_away_for_a_moment_is_not_told(
    pauses: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _end_of(Fails(ServiceError("Redis is away"), tmp_path))
    assert pauses and "di-1" not in capsys.readouterr().err


def test_what_went_with_its_instance_is_not_held_again(pauses: list[float], tmp_path: Path) -> None:
    link = Fails(ServiceError("Redis is away"), tmp_path / "removed")
    _end_of(link)
    assert not pauses and link.left == 7
