"""Tests that share one loop: none is disturbed by what another one has left there."""

from __future__ import annotations

import asyncio

from tests.controller.harness import in_loop

went_off: list[str] = []


@in_loop
async def _leaves() -> None:
    """A timer that is to go off, and a task that begins another one as it ends."""

    async def ends() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            asyncio.ensure_future(asyncio.Event().wait())  # noqa: RUF006

    task = asyncio.ensure_future(ends())
    asyncio.get_running_loop().call_later(0.01, went_off.append, "left")
    await asyncio.sleep(0)
    assert not task.done()


@in_loop
async def _comes_later() -> None:
    assert asyncio.all_tasks() == {asyncio.current_task()}
    later = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, later.set)
    await later.wait()


def test_what_a_test_leaves_ends_with_it() -> None:
    _leaves()
    _comes_later()
    assert went_off == []
