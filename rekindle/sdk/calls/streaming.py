"""Generators: from the arguments in the caller's hands to its items, one by one.

Always by a lease: what a generator yields goes straight to its reader, which holds it up by not
reading (wire/direct_stream.py). Where no runner is free and none may be started, the call waits for
one. A runner that is lost before the first item is replaced by another; after it, no one but the
caller knows what the items that came were good for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

from rekindle.counted import counted
from rekindle.exception import RequestSizeError, RunnerLostError
from rekindle.execution import nesting
from rekindle.sdk import user_frames
from rekindle.sdk.calls import leases
from rekindle.sdk.calls.callers import (
    BLOCKING,
    BlockingIterator,
    Caller,
    LoopCaller,
    LoopIterator,
)
from rekindle.sdk.calls.invocation import Invocation
from rekindle.sdk.calls.lease import Lease, NotRunError
from rekindle.sdk.calls.outcome import passable, settle, within
from rekindle.sdk.calls.target import CallTarget
from rekindle.wire import direct_frames as wire
from rekindle.wire.direct_stream import ItemReader
from rekindle.wire.exceptions import ExceptionRecord, rebuild_exception
from rekindle.wire.granted import Began
from rekindle.wire.phases import now_ns
from rekindle.wire.serialization import unpickling_error
from rekindle.wire.shared import unpack

#: Runners that a call may lose before its first item, as an input may (REKINDLE_MAX_DELIVERIES).
_MOST_LOST = 3
#: A runner could not be lent for a reason that passes: the next time it is asked for.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


#: Says what is called, when the first item is asked for.
Target = Callable[[], Awaitable[CallTarget]]


async def ready(target: CallTarget) -> CallTarget:
    """A target that is known already."""
    return target


class Items(BlockingIterator[Any]):
    """The items of one call, for a caller that blocks. It begins when the first is asked for."""

    def __init__(
        self, name: str, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._here = _Here()
        values = _items(BLOCKING, target, args, kwargs, self._here)
        super().__init__(values, f"{name}.remote_gen")

    def __next__(self) -> Any:
        # Most items are here when they are asked for: two generators less for each.
        run = self._here.run
        try:
            if run is None or not run.has_item:
                return super().__next__()
            try:
                return run.take()
            except BaseException:
                self.close()
                raise
        except BaseException as error:
            user_frames.only(error)
            raise


class LoopItems(LoopIterator[Any]):
    """The same for a task of an event loop."""

    def __init__(
        self,
        name: str,
        caller: LoopCaller,
        target: Target,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._here = _Here()
        self._caller = caller
        values = _items(caller, target, args, kwargs, self._here)
        super().__init__(values, f"{name}.remote_gen.aio")

    async def __anext__(self) -> Any:
        run = self._here.run
        try:
            if run is None or not run.has_item:
                return await super().__anext__()
            await self._caller.pause()
            try:
                return run.take()
            except BaseException:
                await self.aclose()
                raise
        except BaseException as error:
            user_frames.only(error)
            raise


class _Here:
    """Where what iterates finds the run that is on."""

    run: _Run | None = None


async def _items(
    caller: Caller,
    target: Target,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    here: _Here,
) -> AsyncGenerator[Any, None]:
    call = Invocation.begin(await target(), args, kwargs)
    try:
        while True:
            try:
                run = here.run = await _Run.begin(caller, call)
                async with contextlib.aclosing(run.items()) as values:
                    async for value in values:
                        call.let_go()  # it is not run again from here on
                        yield value
                return
            except _LostError as lost:
                if call.lost_runners >= _MOST_LOST:
                    raise RunnerLostError(lost.message) from None
            finally:
                here.run = None
    finally:
        call.let_go()


class _LostError(Exception):
    """The runner was lost before the first item."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


async def _leased(caller: Caller, call: Invocation) -> Lease:
    """A runner; waits until there is one. Raises what its start, or the controller, raises."""
    cache, pause_s = call.cache, _FIRST_PAUSE_S
    assert cache is not None  # it was begun for a direct call
    blocks = caller.blocks
    while True:
        call.check_wanted()
        while (lease := call.idle_lease()) is not None:
            if not lease.is_over():
                return lease
            lease.close()
        try:
            call.keep()
        except NotRunError:
            call.request()  # says what cannot be pickled
        try:
            with nesting.waiting():
                asked = (call.depth, call.strategy)
                lease = await cache.ask_node(*asked, blocks=blocks, patient=True)
                if lease is None:
                    lease = await caller.run(cache.ask(*asked, patient=True))
                if lease is not None:
                    return lease
                await caller.run(asyncio.sleep(pause_s))
        except leases.NoRunnerError as failed:
            # Raises what the start failed with, and has that in the records.
            within(partial(settle, call.of(failed.result), call.target.name, call.submitted_ns))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


class _Run:
    """One call on one runner."""

    def __init__(
        self,
        caller: Caller,
        call: Invocation,
        lease: Lease,
        reader: ItemReader,
        began: Began | None,
    ) -> None:
        self._caller = caller
        self._call = call
        self._lease = lease
        self._reader = reader
        self._began = began
        self._count = 0

    @classmethod
    async def begin(cls, caller: Caller, call: Invocation) -> _Run:
        """Have it run. Raises SerializationError, RequestSizeError, and what ``_leased`` does."""
        while True:
            lease = await _leased(caller, call)
            packed = call.packed(lease, keeps=True)
            if packed is None:
                assert call.cache is not None
                call.cache.give_back(lease)
                call.request()  # says what cannot be pickled
                raise RequestSizeError(
                    f"the arguments of {call.target.name} are over the limit of "
                    f"{lease.limit_bytes / 2**20:.1f} MiB; pass large data by file, or raise "
                    f"REKINDLE_MAX_PAYLOAD_BYTES where the controller is started"
                )
            began, lease.began = lease.began, None
            try:
                reader = lease.stream(call.call_id, call.target.method, packed, call.depth)
            except NotRunError:
                continue  # it was taken back just now
            finally:
                packed.close()
            return cls(caller, call, lease, reader, began)

    async def items(self) -> AsyncGenerator[Any, None]:
        """Its items. Raises what the generator raised, and _LostError."""
        reader, ended, ok = self._reader, False, False
        try:
            while True:
                if reader.has_item:
                    yield self.take()
                    await self._caller.pause()
                elif (frame := reader.take_reply()) is None:
                    if reader.ended:
                        await self._lost()
                    await self._read()
                else:
                    ended = True
                    if frame.gone:
                        self._lease.files.came_back(frame.gone)
                    reader.times = (frame.received_ns, frame.loaded_ns, frame.executed_ns)
                    await self._show_output(frame)
                    if frame.status != wire.OK:
                        raise passable(_error(frame, self._call.target.name))
                    ok = True
                    return
        finally:
            reader.close()
            self._end(ended, ok=ok)

    # ---- what arrives

    async def _read(self) -> None:
        """Take in what has come; waits for it."""
        reader, caller = self._reader, self._caller
        with nesting.waiting():
            if caller.blocks:
                reader.read()
                return
            with contextlib.suppress(BlockingIOError):
                reader.read(socket.MSG_DONTWAIT)
                return
            await self._lease.until_readable()

    @property
    def has_item(self) -> bool:
        """Whether an item is here, which the caller need not wait for."""
        return self._reader.has_item

    def take(self) -> Any:
        """That item. Raises what unpickling it raises."""
        data, fd = self._reader.take_item()
        self._count += 1
        try:
            return unpack(data, fd)
        except BaseException as error:
            what = f"item {self._count - 1} of {self._call.target.name}"
            raise unpickling_error(what, error) from error

    async def _lost(self) -> None:
        """The runner is gone. Raises FunctionTimeoutError, RunnerLostError or _LostError."""
        call, lease = self._call, self._lease
        call.check_wanted()
        fate = await self._caller.in_thread(lease.fate)
        call.lost(lease.runner_id, fate, self._began)
        message = f"{call.target.name}: {fate.message}"
        if self._count:
            items = counted(self._count, "item")
            raise RunnerLostError(f"{message}; {items} had come, so it is not run again by itself")
        raise _LostError(message)

    # ---- the end

    async def _show_output(self, frame: wire.ReplyFrame) -> None:
        logs = self._call.target.logs
        if logs is None:
            return
        if self._began is not None and self._began.printed:
            await self._caller.run(logs.marked(self._lease.id))
        if frame.printed:
            await self._caller.run(logs.marked(self._call.call_id))

    def _end(self, ended: bool, *, ok: bool) -> None:
        """Let go of the runner: where its reply has not come, the generator is closed by that."""
        call, lease = self._call, self._lease
        assert call.cache is not None
        if ended:
            call.cache.give_back(lease)
        else:
            lease.close()
        received_ns, loaded_ns, executed_ns = self._reader.times
        if received_ns:
            until_ns = executed_ns if ended else now_ns()
            marks = (received_ns, loaded_ns, until_ns)
            call.record(lease.runner_id, ok or not ended, marks, self._began)


def _error(frame: wire.ReplyFrame, name: str) -> Exception:
    try:
        record = ExceptionRecord(*unpack(frame.data, frame.take_fd()))
    except BaseException as error:
        raise unpickling_error(f"the error of {name}", error) from error
    return rebuild_exception(record)
