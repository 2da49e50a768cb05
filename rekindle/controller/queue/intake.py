"""How inputs are accepted from clients: a chunk at a time, durable before this package hands it on.

A request with more inputs than a chunk may have is split. See lua/accept.lua.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from rekindle.controller.core import Core
from rekindle.controller.events import CallerMissing, InputsAccepted
from rekindle.controller.queue.call_times import CallTimes
from rekindle.controller.queue.completion import Completer
from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.stream_loader import StreamLoader
from rekindle.controller.queue.table import InputTable
from rekindle.controller.settings import MIB, over_limit
from rekindle.controller.state import Call, Function, InputKey, QueuedBatch
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.controller.storage.records import Acceptance, CallMeta
from rekindle.counted import counted
from rekindle.exception import Error, ExecutionError, ResourceExhaustedError, ServiceError
from rekindle.wire import rekindle_pb2 as pb

#: What one entry of the queue takes at most; a single larger input travels alone.
CHUNK_INPUTS, CHUNK_BYTES = 512, 4 * MIB


@dataclass(eq=False)
class Intake:
    """Accepts inputs."""

    _core: Core
    _store: QueueStore
    _calls: CallStore
    _table: InputTable
    _dispatcher: Dispatcher
    _completer: Completer
    _loader: StreamLoader
    _times: CallTimes

    # ---- requests

    async def invoke(self, function: Function, request: pb.SubmitRequest) -> bytes:
        """Accept the request's one input and wait for its result, as bytes.

        The same (call, index) again waits for the input that is there, or gets its result.
        """
        limit = self._core.settings.max_waiting
        key = (request.call_id, request.inputs[0].index)
        waiters = self._core.state.waiters.get(key)
        if waiters is None:
            if function.waiting >= limit:
                of = f"of {function.name!r}"
                what = counted(function.waiting, f"call {of} is", f"calls {of} are")
                what += " being waited for"
                raise ResourceExhaustedError(over_limit(what, limit, "REKINDLE_MAX_WAITING"))
            waiters = self._core.state.waiters[key] = []
            function.waiting += 1
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)

        async def accept() -> Acceptance:
            got = await self._accept(function, request, "invoke", last=True)
            self._look_for_caller(key)
            return got

        try:
            got = await self._to_its_end(accept())
            if got.over and not waiter.done():
                raw = await self._store.result(function.function_id, *key)
                if raw is not None:
                    return raw
                raise ServiceError(f"the result of {key[0]} was kept for its time and is gone")
            if got.pending:
                await self._loader.check(function, key[0])
            return await waiter
        finally:
            waiters.remove(waiter)
            if not waiters and self._core.state.waiters.get(key) is waiters:
                del self._core.state.waiters[key]
                function.waiting -= 1
                self._look_for_caller(key)

    def _look_for_caller(self, key: InputKey) -> None:
        """Who asked for an input may have gone, before it was accepted or after that."""
        call = self._core.state.calls.get(key[0])
        if key not in self._core.state.waiters and call is not None and call.undone:
            self._core.publish(CallerMissing(call))

    async def submit(self, function: Function, request: pb.SubmitRequest) -> int:
        """Accept inputs; they are durable when this returns. Returns how many were new."""
        with self._times.request(function.function_id, request.call_id):
            await self._calls.index_call(request.call_id, function.index)
            new = 0
            for piece in _pieces(request):
                got = await self._to_its_end(self._accept_piece(function, piece))
                new += len(got.new)
            return new

    async def _accept_piece(self, function: Function, piece: pb.SubmitRequest) -> Acceptance:
        kind = "map" if piece.read_once else "submit"
        # Its time is looked at when Redis has answered, however long the request lives.
        with self._times.request(function.function_id, piece.call_id):
            return await self._accept(function, piece, kind, last=piece.last)

    # ---- accepting

    async def _to_its_end(self, work: Coroutine[Any, Any, Acceptance]) -> Acceptance:
        """Also when the client goes meanwhile: what Redis has accepted must be known here."""
        tasks = self._core.tasks
        return await tasks.value_of(tasks.begin(work, "accept inputs", foreseen=(Error,)))

    async def _accept(
        self, function: Function, request: pb.SubmitRequest, kind: str, *, last: bool
    ) -> Acceptance:
        data = request.SerializeToString()
        indexes = [item.index for item in request.inputs]
        meta = CallMeta(
            app_id=function.app.app_id,
            params=request.params,
            strategy=request.strategy,
            submitted_ns=request.submitted_ns,
            kind=kind,
            depth=request.depth,
        )
        settings, app, state = self._core.settings, function.app, self._core.state
        if (
            state.accepting_bytes
            and state.accepting_bytes + len(data) > settings.max_accepting_bytes
        ):
            what = f"{state.accepting_bytes:,} bytes of requests are on their way to Redis"
            limit = settings.max_accepting_bytes
            raise ResourceExhaustedError(over_limit(what, limit, "REKINDLE_MAX_ACCEPTING_BYTES"))
        call = self._loader.call(request.call_id, function, meta)
        take = self._loader.fits(function, len(indexes), len(data), request.depth)
        coming = (len(indexes), len(data)) if take else (0, 0)
        app.accepting += 1
        call.lost = request.lost
        call.held += 1  # keeps the call in memory while its inputs are on their way
        state.accepting_bytes += len(data)
        function.coming += coming[0]
        function.coming_bytes += coming[1]
        try:
            if app.closing:
                raise app_closed(app.name)
            with function.tombstones.reading():
                got = await self._store.accept(
                    function.function_id,
                    request.call_id,
                    meta,
                    data,
                    indexes,
                    take=take,
                    last=last,
                    limit=settings.max_pending,
                    ttl_s=self._completer.ttl(call),
                )
                self._note(function, call, request, got, len(data))
        finally:
            function.coming -= coming[0]
            function.coming_bytes -= coming[1]
            state.accepting_bytes -= len(data)
            call.held -= 1
            self._completer.reap(call)
            app.accepting -= 1
            if not app.accepting:
                app.quiet.set()
        return got

    def _note(
        self,
        function: Function,
        call: Call,
        request: pb.SubmitRequest,
        got: Acceptance,
        size: int,
    ) -> None:
        """Take over what Redis says of a request."""
        function.counted(got.undone)
        if got.full:
            limit = self._core.settings.max_pending
            of = f"of {function.name!r}"
            several = f"inputs {of} wait or run"
            what = counted(got.undone.undone, f"input {of} waits or runs", several)
            raise ResourceExhaustedError(over_limit(what, limit, "REKINDLE_MAX_PENDING"))
        call.counted(got.done, got.total, got.batches)
        call.accepted = max(call.accepted, got.accepted)
        call.cancelled = max(call.cancelled, got.cancelled)
        lost = any(index not in call.undone for index in got.pending)
        if got.new:
            if got.taken:
                self._hold(function, call, request, got, size)
            else:
                function.backlog = True
            self._core.publish(InputsAccepted(function, len(got.new), call.params))
            if call.cancelled:
                self._core.tasks.spawn(self._cancel(call, got), "cancel inputs")
        if lost:  # accepted by a request whose reply was lost, or it waits on the stream
            function.backlog = True
            self._core.tasks.spawn(self._loader.adopt(function), "adopt inputs")
        if call.complete:
            call.wake_watchers()
        self._dispatcher.pump()
        self._loader.load_more(function)

    async def _cancel(self, call: Call, got: Acceptance) -> None:
        if call.cancelled > got.cancelled:  # it was cancelled before Redis knew of it
            await self._store.cancel(call.function.function_id, call.call_id, call.cancelled)
        await self._loader.cancel(call, got)

    def _hold(
        self,
        function: Function,
        call: Call,
        request: pb.SubmitRequest,
        got: Acceptance,
        size: int,
    ) -> None:
        """Take new inputs into memory, unless someone has found them there already."""
        if got.entry in function.entries or function.tombstones.is_gone(got.entry):
            return
        inputs = list(request.inputs)
        if len(got.new) != len(inputs):
            new = {item.index: item for item in inputs}
            inputs = [new[index] for index in got.new]
        entry = self._table.admit(call, got.entry, len(inputs), size)
        if call.cancelled:  # never to be ready
            self._table.admit_orphaned(entry, {item.index: item for item in inputs})
        elif call.lost:
            for item in inputs:
                self._table.enqueue(self._table.admit_tried(entry, item))
        else:
            self._table.enqueue(QueuedBatch(entry, inputs))


def _pieces(request: pb.SubmitRequest) -> Iterator[pb.SubmitRequest]:
    """The request in chunks; the request itself where it is one."""
    inputs = request.inputs
    if len(inputs) <= CHUNK_INPUTS and (len(inputs) <= 1 or request.ByteSize() <= CHUNK_BYTES):
        yield request
        return
    # What all of them say; to copy the request would copy its payloads.
    head: dict[str, Any] = {
        field.name: value
        for field, value in request.ListFields()
        if field.name not in ("inputs", "last")
    }
    chunk: list[pb.Input] = []
    size = 0
    for item in inputs:
        length = len(item.payload) + 64
        if chunk and (len(chunk) >= CHUNK_INPUTS or size + length > CHUNK_BYTES):
            yield pb.SubmitRequest(**head, inputs=chunk)
            chunk, size = [], 0
        chunk.append(item)
        size += length
    yield pb.SubmitRequest(**head, inputs=chunk, last=request.last)


def app_closed(name: str) -> ExecutionError:
    """The error of a request to an app that is closing."""
    return ExecutionError(f"the app {name!r} is closed; run it again to call its functions")
