"""``FunctionCall.iter``: the values of a call's inputs in order, read ahead within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from rekindle.exception import InvalidError
from rekindle.execution import nesting
from rekindle.sdk.calls.callers import AioSignal, Signal
from rekindle.sdk.calls.result_buffer import ResultBuffer
from rekindle.sdk.calls.result_reader import read_all
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.blob_offload import fetched

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rekindle.sdk.function_call import FunctionCall


def values(call: FunctionCall, start: int, end: int | None) -> Iterator[Any]:
    """For callers that block. Raises InvalidError for a range that the call does not have."""
    _check(call, start, end)

    def iterate() -> Iterator[Any]:
        arrived = Signal()
        if call._inputs == 0 or start == end:
            return
        arrivals, reading = _begin(call, start, end, arrived)
        try:
            while True:
                arrived.clear()
                due = arrivals.take()
                if due is None:
                    return
                for result, raw, data in fetched(call._client(), due):
                    yield call._settle_within(
                        result, data.result() if data is not None else None, raw
                    )
                if not due:
                    with nesting.waiting():
                        arrived.wait()
        finally:
            reading.cancel()

    return iterate()


def values_aio(call: FunctionCall, start: int, end: int | None) -> AsyncIterator[Any]:
    """For callers on an event loop."""
    _check(call, start, end)

    async def iterate() -> AsyncIterator[Any]:
        arrived = AioSignal()
        if call._inputs == 0 or start == end:
            return
        arrivals, reading = _begin(call, start, end, arrived)
        try:
            while True:
                arrived.clear()
                due = arrivals.take()
                if due is None:
                    return
                for result, raw, data in fetched(call._client(), due):
                    if data is not None:
                        await asyncio.wait((asyncio.wrap_future(data),))
                    yield call._settle_within(
                        result, data.result() if data is not None else None, raw
                    )
                if not due:
                    with nesting.waiting():
                        await arrived.wait()
        finally:
            reading.cancel()

    return iterate()


def _check(call: FunctionCall, start: int, end: int | None) -> None:
    if start < 0 or (end is not None and end < start):
        raise InvalidError(f"start={start}, end={end}: give 0 <= start <= end")
    known = call._inputs
    if known is not None and max(start, end or 0) > known:
        raise InvalidError(f"start={start}, end={end}: {call!r} has {known} inputs")


def _begin(
    call: FunctionCall, start: int, end: int | None, arrived: Signal | AioSignal
) -> tuple[ResultBuffer, Future[None]]:
    arrivals = ResultBuffer(True, arrived, first=start)
    reading = asyncio.run_coroutine_threadsafe(_read(call, arrivals, start, end), background().loop)
    return arrivals, reading


async def _read(call: FunctionCall, arrivals: ResultBuffer, start: int, end: int | None) -> None:
    last = call._inputs if end is None else end
    try:
        if last is None or start < last:
            await read_all(call._client(), call.object_id, arrivals, call._app, end=lambda: last)
            if last is not None and not arrivals.seen.all_below(last):
                raise InvalidError(f"{call!r} has no input {last - 1}")
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
        arrivals.fail(error)
    else:
        arrivals.end()
