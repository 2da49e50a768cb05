"""``map`` and its family: inputs fed as they are taken, results as they come, both bounded.

A feeder (a thread, or a task of the caller's loop) takes inputs from the user's iterators, pickles
them and leaves them in an outbox; the background thread submits what is there in batches and reads
the results; the consumer is the caller's iteration. The feeder waits when too many inputs have no
taken result, so neither side runs away from the other.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rekindle.exception import InternalFailure, InvalidError
from rekindle.sdk.background import background
from rekindle.sdk.call import FunctionCall
from rekindle.sdk.ids import new_call_id
from rekindle.sdk.inputs import packed
from rekindle.sdk.outcome import settle
from rekindle.sdk.running import asked_strategy
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import now_ns

if TYPE_CHECKING:
    from rekindle.sdk.function import Function

#: Inputs of one map that are submitted and whose value the caller has not taken.
MAX_OUTSTANDING = 1000
#: Inputs, and about so many bytes, in one request.
_BATCH = 64
_BATCH_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class MapOptions:
    """How results are given."""

    order_outputs: bool = True
    return_exceptions: bool = False


# ---- the call, on the background thread --------------------------------------------------------


class _Call:
    """One map: an outbox that is submitted in batches, and its results."""

    def __init__(
        self,
        function: Function[..., Any],
        kwargs: dict[str, Any] | None,
        on_result: Callable[[pb.Result | BaseException], None] | None,
    ) -> None:
        self.function = function
        self.kwargs = dict(kwargs or {})
        self.call_id = new_call_id()
        self.client, self.function_id, self.running = function._declaration.resolve()
        self.submitted_ns: dict[int, int] = {}
        self.count = 0  # inputs offered
        self._strategy = asked_strategy()
        self._params = function.params
        self._on_result = on_result
        self._outbox: deque[pb.Input] = deque()
        self._background = background()
        self._wake = asyncio.Event()
        self._complete = False  # no more inputs will be offered
        self._abandoned = False
        self._task: Any = None

    def offer(self, args: tuple[Any, ...]) -> None:
        """Pickle an input and have it submitted; on the feeder's thread."""
        index = self.count
        self.submitted_ns[index] = now_ns()
        payload = packed(self.function, args, self.kwargs, index)
        self.count += 1
        self._outbox.append(pb.Input(index=index, method=self.function._method, payload=payload))
        self._kick()

    def complete(self) -> None:
        """There are no more inputs."""
        self._complete = True
        self._kick()

    def abandon(self) -> None:
        """The caller wants no more results."""
        self._abandoned = True
        self._complete = True
        self._background.loop.call_soon_threadsafe(self._cancel)

    def start(self) -> None:
        """Begin on the background thread."""
        self._task = asyncio.run_coroutine_threadsafe(self.run(), self._background.loop)

    def _kick(self) -> None:
        self._background.loop.call_soon_threadsafe(self._wake.set)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Submit all, and deliver results where somebody takes them."""
        reader: asyncio.Task[None] | None = None
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                done = self._complete  # looked at before the outbox: then nothing is missed
                batch = self._take()
                while batch or (done and not self._outbox):
                    last = done and not self._outbox
                    if batch or self.count:
                        await self._submit(batch, last)
                    if batch and reader is None and self._on_result is not None:
                        reader = asyncio.ensure_future(self._read())
                    if last:
                        if reader is not None:
                            await reader
                        return
                    batch = self._take()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if self._on_result is None:
                raise
            self._on_result(error)
        finally:
            if reader is not None:
                reader.cancel()

    def _take(self) -> list[pb.Input]:
        batch: list[pb.Input] = []
        size = 0
        while self._outbox and len(batch) < _BATCH and size < _BATCH_BYTES:
            batch.append(self._outbox.popleft())
            size += len(batch[-1].payload)
        return batch

    async def _submit(self, batch: list[pb.Input], last: bool) -> None:
        await self.client.submit(
            pb.SubmitRequest(
                call_id=self.call_id,
                function_id=self.function_id,
                params=self._params,
                inputs=batch,
                last=last,
                strategy=self._strategy,
                submitted_ns=self.submitted_ns[batch[0].index] if batch else now_ns(),
            )
        )

    async def _read(self) -> None:
        assert self._on_result is not None
        seen = 0
        async for result in self.client.results(self.call_id):
            if self.running is not None and self.running.logs is not None:
                await self.running.logs.reached(result.log_seq)
            self._on_result(result)
            seen += 1
            if self._complete and seen == self.count:
                return
        if seen != self.count:
            raise InternalFailure(
                f"the results of {self.function.name}.map() ended after {seen} of {self.count}; "
                f"see the controller's log"
            )

    def settle(self, result: pb.Result) -> Any:
        """The value of a result; raises its exception."""
        start = self.submitted_ns.pop(result.index, 0)
        return settle(result, self.function.name, start)


class _Order:
    """Results in the order in which they are to be given."""

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._waiting: dict[int, pb.Result] = {}
        self._next = 0

    def add(self, result: pb.Result) -> list[pb.Result]:
        """Take one, give those that are due."""
        if not self._ordered:
            return [result]
        self._waiting[result.index] = result
        due = []
        while self._next in self._waiting:
            due.append(self._waiting.pop(self._next))
            self._next += 1
        return due


class _Unused:
    """Warns when a map was made and never iterated: then it did nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.used = False

    def __del__(self) -> None:
        if not self.used:
            warnings.warn(
                f"{self.name}.map(...) was never iterated, so nothing was run; iterate over it, or "
                f"use .for_each() or .spawn_map()",
                stacklevel=2,
            )


# ---- blocking ----------------------------------------------------------------------------------


def run(
    function: Function[..., Any],
    inputs: Iterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
    options: MapOptions,
) -> Iterator[Any]:
    """The iterator that ``map`` gives."""
    unused = _Unused(function.name)

    def values() -> Iterator[Any]:
        unused.used = True
        yield from _iterate(function, inputs, kwargs, options)

    return _Values(values(), unused)


class _Values(Iterator[Any]):
    """An iterator that owns the warning."""

    def __init__(self, values: Iterator[Any], unused: _Unused) -> None:
        self._values = values
        self._unused = unused

    def __next__(self) -> Any:
        return next(self._values)

    def close(self) -> None:
        """End it early: no more inputs are taken."""
        self._values.close()  # type: ignore[attr-defined]


def _iterate(
    function: Function[..., Any],
    inputs: Iterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
    options: MapOptions,
) -> Iterator[Any]:
    arrived: queue.SimpleQueue[pb.Result | BaseException | None] = queue.SimpleQueue()
    call = _Call(function, kwargs, arrived.put)
    room = threading.Semaphore(MAX_OUTSTANDING)
    stop = threading.Event()

    def feed() -> None:
        try:
            while True:
                room.acquire()
                if stop.is_set():
                    return
                try:
                    args = next(inputs)
                except StopIteration:
                    break
                call.offer(args)
        except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
            arrived.put(error)
            return
        call.complete()
        arrived.put(None)  # the count is final

    call.start()
    context = contextvars.copy_context()
    feeder = threading.Thread(
        target=context.run, args=(feed,), name="rekindle-map-inputs", daemon=True
    )
    feeder.start()
    order = _Order(options.order_outputs)
    taken = 0
    final = False
    try:
        while not (final and taken == call.count):
            item = arrived.get()
            if item is None:
                final = True
            elif isinstance(item, BaseException):
                raise item
            else:
                for result in order.add(item):
                    taken += 1
                    room.release()
                    yield _given(call, result, options)
    finally:
        stop.set()
        room.release()  # a feeder that waits sees the stop
        call.abandon()


def _given(call: _Call, result: pb.Result, options: MapOptions) -> Any:
    try:
        return call.settle(result)
    except Exception as error:
        if options.return_exceptions:
            return error
        raise


# ---- asyncio -----------------------------------------------------------------------------------


def run_aio(
    function: Function[..., Any],
    inputs: AsyncIterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
    options: MapOptions,
) -> AsyncIterator[Any]:
    """The async iterator that ``map.aio`` gives."""
    unused = _Unused(function.name)

    async def values() -> AsyncIterator[Any]:
        unused.used = True
        async for value in _iterate_aio(function, inputs, kwargs, options):
            yield value

    return _AsyncValues(values(), unused)


class _AsyncValues(AsyncIterator[Any]):
    """An async iterator that owns the warning."""

    def __init__(self, values: AsyncIterator[Any], unused: _Unused) -> None:
        self._values = values
        self._unused = unused

    async def __anext__(self) -> Any:
        return await anext(self._values)

    async def aclose(self) -> None:
        """End it early: no more inputs are taken."""
        await self._values.aclose()  # type: ignore[attr-defined]


async def _iterate_aio(
    function: Function[..., Any],
    inputs: AsyncIterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
    options: MapOptions,
) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[pb.Result | BaseException | None] = asyncio.Queue()

    def deliver(item: pb.Result | BaseException | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(arrived.put_nowait, item)

    call = _Call(function, kwargs, deliver)
    room = asyncio.Semaphore(MAX_OUTSTANDING)

    async def feed() -> None:
        try:
            await room.acquire()
            async for args in inputs:
                call.offer(args)
                await room.acquire()
        except Exception as error:  # noqa: BLE001 - raised where the values are taken
            arrived.put_nowait(error)
            return
        call.complete()
        arrived.put_nowait(None)

    call.start()
    feeder = asyncio.ensure_future(feed())
    order = _Order(options.order_outputs)
    taken = 0
    final = False
    try:
        while not (final and taken == call.count):
            item = await arrived.get()
            if item is None:
                final = True
            elif isinstance(item, BaseException):
                raise item
            else:
                for result in order.add(item):
                    taken += 1
                    room.release()
                    yield _given(call, result, options)
    finally:
        feeder.cancel()
        call.abandon()


# ---- submitted and not waited for --------------------------------------------------------------


def spawn(
    function: Function[..., Any], inputs: Iterator[tuple[Any, ...]], kwargs: dict[str, Any] | None
) -> FunctionCall:
    """Submit all inputs as one call."""
    call = _Call(function, kwargs, None)
    for args in inputs:
        call.offer(args)
    call.complete()
    _check_any(call)
    call._background.run(call.run())
    return _handle(call)


async def spawn_aio(
    function: Function[..., Any],
    inputs: AsyncIterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
) -> FunctionCall:
    """The same, awaited."""
    call = _Call(function, kwargs, None)
    async for args in inputs:
        call.offer(args)
    call.complete()
    _check_any(call)
    await call._background.arun(call.run())
    return _handle(call)


def _check_any(call: _Call) -> None:
    if not call.count:
        raise InvalidError(f"{call.function.name}.spawn_map(): the iterators gave no input")


def _handle(call: _Call) -> FunctionCall:
    return FunctionCall(
        call.call_id,
        function=call.function.name,
        inputs=call.count,
        instance=str(call.client.instance),
        app=call.running,
    )
