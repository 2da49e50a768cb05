"""The connection of an event loop to Dict and Queue: one, whatever happens while it is opened."""

from __future__ import annotations

import asyncio

import pytest

from rekindle.sdk.objects import aio_link
from rekindle.sdk.objects.dict import Dict


def test_a_connection_that_breaks_while_tasks_wait_for_it_is_opened_once_more_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opening = most = opened = 0
    connect = aio_link.AioLink._connect

    async def counted(self: aio_link.AioLink) -> None:
        nonlocal opening, most, opened
        opening, opened = opening + 1, opened + 1
        most = max(most, opening)
        try:
            await connect(self)
        finally:
            opening -= 1
        if opened == 1:  # at once, before those that waited have had their turn
            self._ended(OSError("cut"))

    monkeypatch.setattr(aio_link.AioLink, "_connect", counted)

    async def ask() -> list[object]:
        shared = Dict.from_name("aio-link", create_if_missing=True)
        tasks = [shared.put.aio(n, n) for n in range(8)]
        await asyncio.gather(*tasks)
        return [await shared.get.aio(n) for n in range(8)]

    assert asyncio.run(ask()) == list(range(8))
    assert most == 1 and opened == 2
