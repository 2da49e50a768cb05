"""Requests that wait at a Queue, with a Redis that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from rekindle.background_tasks import BackgroundTasks
from rekindle.controller.objects.catalog import Shared
from rekindle.controller.objects.scripts import Caller
from rekindle.controller.objects.service import ObjectService, Session
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.wire.object_frames import Op, Request, Status, pack_list

_DAY_MS = 24 * 3600 * 1000
_QUEUE = Shared("qu-1", "queue", "line", "main", 0)


def test_a_put_that_had_to_wait_for_room_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []
        call_later = loop.call_later

        def noted(*arguments: Any) -> asyncio.TimerHandle:
            timers.append(call_later(*arguments))
            return timers[-1]

        monkeypatch.setattr(loop, "call_later", noted)
        service = ObjectService(
            cast(RedisLink, None),  # nothing is read back here
            "redis://",
            "in",
            patience_s=1.0,
            grace_s=1.0,
            tasks=BackgroundTasks(),
        )
        service.catalog.by_id[b"qu-1"] = _QUEUE
        sent: list[Callable[[Any], None]] = []

        def send(_one: Shared, _request: Request, _caller: Caller, reply: Any) -> None:
            sent.append(reply)

        monkeypatch.setattr(service, "send", send)
        told: list[tuple[int, object]] = []
        put = Request(Op.QUEUE_PUT, pack_list([b"x"]), b"qu-1", quantity=60, wait_s=60.0)
        service.handle(Session(), 0, bytes(8), put, lambda *reply: told.append(reply))
        for _ in range(3):  # full, and full again for those who were quicker
            sent.pop()(b"F%d" % _DAY_MS)
            service.changed(Request(Op.QUEUE_GET, object_id=b"qu-1", quantity=1))
        sent.pop()(b"1")
        assert told == [(Status.DONE, b"1")] and len(timers) == 4
        assert all(timer.cancelled() for timer in timers)

    asyncio.run(scenario())
