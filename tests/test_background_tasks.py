"""What runs in the background of a daemon: an error of it is somebody's, or is logged."""

from __future__ import annotations

import asyncio

import pytest

from rekindle.background_tasks import BackgroundTasks


class _ForeseenError(Exception):
    pass


async def _fails(when: asyncio.Event, error: Exception) -> None:
    await when.wait()
    raise error


def test_an_error_whose_waiter_has_gone_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def leave() -> None:
        tasks, when = BackgroundTasks(), asyncio.Event()
        waits = asyncio.create_task(tasks.to_its_end(_fails(when, ValueError("lost")), "the work"))
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        assert not caplog.records
        when.set()
        await tasks.finish()

    asyncio.run(leave())
    (record,) = caplog.records
    assert record.message == "a background task failed: the work"
    assert record.exc_info is not None and str(record.exc_info[1]) == "lost"


def test_an_error_that_somebody_gets_or_that_was_foreseen_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def wait() -> None:
        tasks, when = BackgroundTasks(), asyncio.Event()
        shared = tasks.begin(_fails(when, ValueError("got")))
        two = [asyncio.create_task(tasks.value_of(shared)) for _ in range(2)]
        tasks.begin(_fails(when, _ForeseenError()), foreseen=(_ForeseenError,))
        await asyncio.sleep(0)
        two[0].cancel()
        when.set()
        with pytest.raises(ValueError, match="got"):
            await two[1]
        await tasks.finish()

    asyncio.run(wait())
    assert not caplog.records
