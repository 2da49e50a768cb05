"""``map`` and ``spawn_map`` for callers on an event loop: the feeder is a task of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from rekindle.execution import nesting
from rekindle.sdk.calls.callers import AioSignal
from rekindle.sdk.calls.map_call import MapCall, MapOptions, Unused, cancel_rest, handle
from rekindle.sdk.calls.submission import Submission
from rekindle.sdk.calls.window import Window
from rekindle.sdk.connection.background import background
from rekindle.sdk.function_call import FunctionCall

if TYPE_CHECKING:
    from rekindle.sdk.function import Function


def run_aio(
    function: Function[..., Any],
    inputs: AsyncIterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
    options: MapOptions,
) -> AsyncIterator[Any]:
    """The async iterator that ``map.aio`` gives."""
    unused = Unused(function.name)

    async def values() -> AsyncIterator[Any]:
        unused.used = True
        async for value in _iterate(function, inputs, kwargs, options):
            yield value

    return _Values(values(), unused)


class _Values(AsyncIterator[Any]):
    """An async iterator that owns the warning."""

    def __init__(self, values: AsyncIterator[Any], unused: Unused) -> None:
        self._values = values
        self._unused = unused

    async def __anext__(self) -> Any:
        return await anext(self._values)

    async def aclose(self) -> None:
        """End it early: no more inputs are taken, what has not been run is cancelled."""
        await self._values.aclose()  # type: ignore[attr-defined]


async def _iterate(
    function: Function[..., Any],
    inputs: AsyncIterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
    options: MapOptions,
) -> AsyncIterator[Any]:
    arrived, room = AioSignal(), AioSignal()
    call = MapCall(function, kwargs, options, arrived, room)

    pace = _Pace()

    async def feed() -> None:
        try:
            async for args in inputs:
                call.offer(args)
                while call.window.full():
                    await room.wait()
                await pace()
        except BaseException as error:
            call.fail(error)  # raised where the values are taken
            if not isinstance(error, Exception):
                raise
        else:
            call.complete()

    call.start()
    feeder = asyncio.ensure_future(feed())
    try:
        while True:
            arrived.clear()
            due = call.take()
            if due is None:
                return
            for result, raw, data in call.taken(due):
                if data is not None:
                    await asyncio.wait((asyncio.wrap_future(data),))
                yield call.given(result, raw, data)
            call.took(due)
            if not due:
                with nesting.waiting():
                    await arrived.wait()
    finally:
        feeder.cancel()
        call.abandon()


class _Pace:
    """Lets the caller's loop do other things now and then: plain iterators never do."""

    _EVERY = 64

    def __init__(self) -> None:
        self._count = 0

    async def __call__(self) -> None:
        self._count += 1
        if self._count % self._EVERY == 0:
            await asyncio.sleep(0)


async def spawn_aio(
    function: Function[..., Any],
    inputs: AsyncIterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
) -> FunctionCall:
    """Submit all inputs as one call, as they come from the iterators."""
    room = AioSignal()
    window = Window(room)
    submission = Submission(
        function, kwargs, window, lambda count, size: window.give_back(size, count)
    )
    running = asyncio.run_coroutine_threadsafe(submission.run(), background().loop)
    running.add_done_callback(lambda _: window.close())
    pace = _Pace()
    try:
        async for args in inputs:
            submission.offer(args)
            while window.full():
                with nesting.waiting():
                    await room.wait()
            await pace()
            if window.closed:
                break  # it has failed
        submission.complete()
        with nesting.waiting():
            await asyncio.wrap_future(running)
    except BaseException:
        running.cancel()
        await background().arun(cancel_rest(submission))
        raise
    return handle(submission)
