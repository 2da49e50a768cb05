"""What runs in the background of a daemon: an error of it is somebody's, or is logged."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rekindle import background_tasks
from rekindle.background_tasks import BackgroundTasks


class _ForeseenError(Exception):
    pass


def _logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Without what threads and garbage of tests before these log meanwhile."""
    return [one for one in caplog.records if one.name == background_tasks.__name__]


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
        assert not _logged(caplog)
        when.set()
        await tasks.finish()

    asyncio.run(leave())
    (record,) = _logged(caplog)
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
    assert not _logged(caplog)


def test_all_have_ended_when_it_is_finished_those_included_that_came_meanwhile() -> None:
    async def finish() -> list[str]:
        tasks, ended = BackgroundTasks(), list[str]()

        async def first() -> None:
            await asyncio.sleep(0)
            tasks.spawn(second())
            ended.append("first")

        async def second() -> None:
            for _ in range(10):  # it ends a while after the first
                await asyncio.sleep(0)
            ended.append("second")

        tasks.spawn(first())
        await tasks.finish()
        return ended

    assert asyncio.run(finish()) == ["first", "second"]


def test_what_is_cancelled_has_cleaned_up_before_that_returns() -> None:
    async def cancel() -> list[str]:
        tasks, ended = BackgroundTasks(), list[str]()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append("cleaned up")

        tasks.spawn(work())
        await asyncio.sleep(0)
        await tasks.cancel()
        return ended

    assert asyncio.run(cancel()) == ["cleaned up"]
