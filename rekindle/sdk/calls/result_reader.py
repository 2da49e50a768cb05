"""From the results of a call to values: read on the background thread, given on the caller's.

``read_all`` fills a ResultBuffer, ``values`` gives what is in it, for ``map`` and for ``iter()``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from rekindle.exception import InvalidError
from rekindle.execution import nesting
from rekindle.sdk.calls.callers import Caller
from rekindle.sdk.calls.outcome import settle, within
from rekindle.sdk.calls.result_buffer import ResultBuffer
from rekindle.sdk.calls.target import CallTarget
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.client import Client
from rekindle.sdk.connection.seen import Arrived
from rekindle.wire import rekindle_pb2 as pb

#: Results whose data is fetched from the blob store while the caller has the one before them.
_AHEAD = 4


async def read_all(
    target: CallTarget, call_id: str, buffer: ResultBuffer, *, end: Callable[[], int | None]
) -> None:
    """Return when all results have come.

    ``end``: gives the index after the last, or None while that is not known; then it is when the
    controller says so. Raises what the client's requests raise.
    """
    while True:
        last = end()
        bound = buffer.cut or last or 0
        stream = target.client.results(call_id, buffer.seen, end_index=bound)
        async with contextlib.aclosing(stream):
            async for batch, log_seq in stream:
                if target.logs is not None:
                    await target.logs.reached(log_seq)
                buffer.add(batch)
                bound = buffer.cut or end() or 0
                if bound and buffer.seen.all_below(bound):
                    break
                if buffer.crowded():
                    if buffer.drop_far_end():
                        break
                    await buffer.room()
            else:
                if not (buffer.cut and buffer.seen.all_below(buffer.cut)):
                    return  # the controller says that there are no more
        if buffer.cut:
            if buffer.seen.all_below(buffer.cut):
                await buffer.room()  # then those that were dropped
                buffer.cut = 0
        elif bound and buffer.seen.all_below(bound):
            return


# ---- on the caller's side ----------------------------------------------------------------------


class Source(Protocol):
    """A call whose values are iterated over."""

    client: Client
    buffer: ResultBuffer
    arrived: Any  # the signal of the buffer

    def begin(self) -> None:
        """Have them come: ``close`` follows, also where this is interrupted."""

    def give(self, result: pb.Result, data: Future[bytes] | None) -> Any:
        """The value of a result, whose data is there; or raise."""

    def took(self, due: list[Arrived]) -> None:
        """The caller has all of these."""

    def close(self) -> None:
        """The caller takes no more."""


async def values(
    caller: Caller, begin: Callable[[], Awaitable[Source]]
) -> AsyncGenerator[Any, None]:
    """The values of a call; it begins when the first is asked for."""
    source = await begin()
    arrived, buffer = source.arrived, source.buffer
    try:
        source.begin()
        while True:
            arrived.clear()
            due = buffer.take()
            if due is None:
                return
            for result, data in _fetched(source.client, due):
                if data is not None:
                    await caller.done(data)
                yield source.give(result, data)
            if due:
                source.took(due)
            else:
                with nesting.waiting():
                    await caller.wait(arrived)
    finally:
        if not sys.is_finalizing():  # else the program has ended, and nothing is there to say it by
            try:
                source.close()
            except BaseException:
                source.close()  # what was left of it when a signal came
                raise


def _fetched(
    client: Client, due: list[Arrived]
) -> Iterator[tuple[pb.Result, Future[bytes] | None]]:
    """Results with the data that comes for them from the store; a few are fetched ahead."""
    waiting: deque[tuple[pb.Result, Future[bytes] | None]] = deque()
    parse = pb.Result.FromString
    for _, raw in due:
        result = parse(raw)
        key = result.blob
        if not key and not waiting:
            yield result, None
            continue
        waiting.append((result, background().start(client.blob(key)) if key else None))
        if len(waiting) > _AHEAD:
            yield waiting.popleft()
    yield from waiting


class StoredCall:
    """The source of ``FunctionCall.iter``: results of a call that was submitted before.

    ``end``: the index after the last; None for those that the controller knows.
    """

    def __init__(
        self, caller: Caller, target: CallTarget, call_id: str, start: int, end: int | None
    ) -> None:
        self.client = target.client
        self.arrived = caller.signal()
        self.buffer = ResultBuffer(True, self.arrived, first=start)
        self._target = target
        self._call_id = call_id
        self._start, self._end = start, end
        self._reading: Future[None] | None = None

    def begin(self) -> None:
        """See Source."""
        self._reading = background().start(self._read(self._start, self._end))

    async def _read(self, start: int, end: int | None) -> None:
        buffer = self.buffer
        try:
            if end is None or start < end:
                await read_all(self._target, self._call_id, buffer, end=lambda: end)
                if end is not None and not buffer.seen.all_below(end):
                    raise InvalidError(f"the call {self._call_id} has no input {end - 1}")
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
            buffer.fail(error)
        else:
            buffer.end()

    def give(self, result: pb.Result, data: Future[bytes] | None) -> Any:
        """Its value; raises what the function raised."""
        return within(partial(settle, result, self._target.name, 0, data))

    def took(self, due: list[Arrived]) -> None:
        """They are kept for their time: others may have handles to the call."""

    def close(self) -> None:
        """No more are read."""
        if self._reading is not None:
            self._reading.cancel()
