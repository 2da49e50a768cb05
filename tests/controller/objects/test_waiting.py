"""Requests that wait at a Queue, with a Redis that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rekindle.controller.objects.attempts import Attempt, Means, Session
from rekindle.controller.objects.catalog import Shared
from rekindle.controller.objects.waiting import ITEM, Lines, Place, Waiting
from rekindle.wire.object_commands import Caller
from rekindle.wire.object_frames import Op, Request, Status, pack_list

_DAY_MS = 24 * 3600 * 1000
_QUEUE = Shared("qu-1", "queue", "line", "main", 0)
_PLACE: Place = (b"qu-1", b"")


def test_a_put_that_had_to_wait_for_room_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []
        call_later = loop.call_later

        def noted(*arguments: Any) -> asyncio.TimerHandle:
            timers.append(call_later(*arguments))
            return timers[-1]

        monkeypatch.setattr(loop, "call_later", noted)
        sent: list[Callable[[Any], None]] = []
        left: list[tuple[str, Place]] = []
        lines = Lines(lambda *place: left.append(place))

        def send(_one: Shared, _request: Request, caller: Caller, reply: Any) -> None:
            assert caller.waits == b"a channel"
            sent.append(reply)

        means = Means(lines, lambda _: None, send, lambda *_: None)
        told: list[tuple[int, object]] = []
        put = Request(Op.QUEUE_PUT, pack_list([b"x"]), b"qu-1", quantity=60, wait_s=60.0)
        caller = Caller(b"", 0, bytes(8), b"a channel")
        attempt = Attempt(means, Session(), _QUEUE, put, caller, lambda *one: told.append(one))
        attempt.try_it()
        for _ in range(3):  # full, and full again for those who were quicker
            sent.pop()(b"F%d" % _DAY_MS)
            lines.notify(b"qu-1", b"r1:")
        assert left == [] and lines.waiting_for(b"qu-1") == 1
        sent.pop()(b"1")
        assert told == [(Status.DONE, b"1")] and len(timers) == 4
        assert all(timer.cancelled() for timer in timers)
        assert left == [("r", _PLACE)] and lines.waiting_for(b"qu-1") == 0

    asyncio.run(scenario())


def test_the_note_that_somebody_waits_goes_with_the_last_who_does() -> None:
    left: list[tuple[str, Place]] = []
    lines = Lines(lambda *place: left.append(place))
    tried: list[str] = []
    for name in ("first", "second"):
        lines.arrives(ITEM, _PLACE)
        lines.noted(ITEM, _PLACE)
        lines.waits(ITEM, _PLACE, Waiting(lines.ticket(), lambda name=name: tried.append(name)))
    lines.notify(b"qu-1", b"i1:")
    lines.notify(b"qu-1", b"nonsense")
    lines.notify(b"qu-1", b"i1:another partition")
    assert tried == ["first"]
    lines.leaves(ITEM, _PLACE)
    assert left == []
    lines.wake_everyone()
    assert tried == ["first", "second"]
    lines.leaves(ITEM, _PLACE)
    assert left == [(ITEM, _PLACE)]
    # Who never had to wait leaves no note, and so takes none away.
    lines.arrives(ITEM, _PLACE)
    lines.leaves(ITEM, _PLACE)
    assert len(left) == 1
