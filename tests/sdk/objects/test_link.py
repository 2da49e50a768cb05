"""What a program knows of the objects that it uses: of so many, and of instances that are there."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rekindle.sdk.objects import direct, link
from rekindle.sdk.objects.direct import Ways


def test_of_ever_other_objects_the_newest_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_MOST_KNOWN", 3)
    ways = Ways()
    for name in (b"di-a", b"di-b", b"di-c", b"di-a", b"di-d"):
        ways.learn(name, {"again_s": 60})
    known = [name for name in (b"di-a", b"di-b", b"di-c", b"di-d") if ways.find(name) is not None]
    assert known == [b"di-a", b"di-c", b"di-d"]


class _Idle:
    """A connection that waits for its next request."""

    def __init__(self) -> None:
        self.sock, _ = socket.socketpair()

    def close(self) -> None:
        self.sock.close()


def test_nothing_is_kept_of_an_instance_that_has_ended(tmp_path: Path) -> None:
    made, idle = link.link_of(str(tmp_path)), _Idle()
    made._idle[b"di-a"] = [idle]  # type: ignore[list-item]
    link.forget(tmp_path)
    assert idle.sock.fileno() == -1
    assert tmp_path not in link._links and str(tmp_path) not in link._named
    assert link.link_of(str(tmp_path)) is not made
    link.forget(tmp_path)
    link.forget(tmp_path)  # of none nothing is to be done
