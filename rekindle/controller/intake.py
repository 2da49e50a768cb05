"""How inputs get into memory: accepted from clients, or taken from the stream.

An accepted input is durable before this room hands it on (lua/accept.lua). Memory holds a bounded
number of undone inputs of a function; the others wait on the stream and are taken in their turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from rekindle.controller.dispatcher import Dispatcher
from rekindle.controller.records import HAS_RESULT, NEW, CallMeta, InputProgress, QueuedEntry
from rekindle.controller.settings import MIB, Settings
from rekindle.controller.state import Call, Function, HeldInput, InputState, State
from rekindle.controller.store import NewInput, QueueStore
from rekindle.controller.tasks import Tasks
from rekindle.exception import ExecutionError, ServiceError
from rekindle.wire import rekindle_pb2 as pb

_TAKE_BYTES = 16 * MIB
_TAKE_INPUTS = 256


class Intake:
    """Accepts inputs, and takes those that wait on the stream."""

    def __init__(
        self,
        state: State,
        store: QueueStore,
        dispatcher: Dispatcher,
        tasks: Tasks,
        settings: Settings,
    ) -> None:
        self._state = state
        self._store = store
        self._dispatcher = dispatcher
        self._tasks = tasks
        self._settings = settings
        dispatcher.on_low = self.take_more
        #: Called when inputs were accepted and no agent is connected.
        self.on_no_agent: Callable[[], None] = lambda: None
        #: Called when a call turned out to be complete already.
        self.on_complete: Callable[[Call], None] = lambda call: None
        #: Told of new inputs, and of inputs that are done with: (function, params, how many).
        self.on_accepted: Callable[[Function, bytes, int], None] = lambda function, params, n: None
        self.on_released: Callable[[Function, bytes, int], None] = lambda function, params, n: None

    # ---- accepting

    async def invoke(self, function: Function, request: pb.SubmitRequest) -> pb.Result:
        """Accept the request's one input and wait for its result.

        The same (call, index) again waits for the input that is there, or gets its result.
        """
        key = (request.call_id, request.inputs[0].index)
        waiter: asyncio.Future[pb.Result] = asyncio.get_running_loop().create_future()
        waiters = self._state.waiters.setdefault(key, [])
        waiters.append(waiter)
        try:
            codes = await self._accept(function, request, "invoke")
            if codes[0] == HAS_RESULT and not waiter.done():
                raw = await self._store.result(function.function_id, *key)
                if raw is not None:
                    return pb.Result.FromString(raw)
                raise ServiceError(f"the result of {key[0]} was kept for its time and is gone")
            return await waiter
        finally:
            waiters.remove(waiter)
            if not waiters and self._state.waiters.get(key) is waiters:
                del self._state.waiters[key]

    async def submit(self, function: Function, request: pb.SubmitRequest) -> int:
        """Accept inputs; they are durable when this returns. Returns how many were new."""
        ttl = self._settings.result_ttl_s
        await self._store.index_call(request.call_id, function.function_id, ttl)
        codes = await self._accept(function, request, "submit")
        return sum(code == NEW for code in codes)

    async def _accept(self, function: Function, request: pb.SubmitRequest, kind: str) -> list[int]:
        meta = CallMeta(
            app_id=function.app.app_id,
            params=request.params,
            strategy=request.strategy,
            submitted_ns=request.submitted_ns,
            kind=kind,
            accepted=0,
            done=0,
            total=-1,
        )
        call = self.call(request.call_id, function, meta)
        size = sum(len(item.payload) for item in request.inputs)
        settings = self._settings
        take = function.held + len(
            request.inputs
        ) <= settings.held_inputs and function.held_bytes + size <= max(settings.held_bytes, size)
        app = function.app
        app.accepting += 1
        call.held += 1  # keeps the call in memory while its inputs are on their way
        try:
            if app.closing:
                raise app_closed(app.name)
            got = await self._store.accept(
                function.function_id,
                request.call_id,
                meta,
                request.inputs,
                take=take,
                last=kind == "invoke" or request.last,
                ttl_s=0 if kind == "invoke" else settings.result_ttl_s,
            )
            call.counted(got.done, got.total)
            self._hold_accepted(function, call, request.inputs, got.inputs, got.taken)
            new = sum(code == NEW for code, _ in got.inputs)
            self.on_accepted(function, request.params, new)
            if call.complete:
                self.on_complete(call)
        finally:
            call.held -= 1
            self.reap(call)
            app.accepting -= 1
            if not app.accepting:
                app.quiet.set()
        return [code for code, _ in got.inputs]

    def _hold_accepted(
        self,
        function: Function,
        call: Call,
        inputs: Sequence[NewInput],
        answers: Sequence[tuple[int, str]],
        taken: bool,
    ) -> None:
        unknown = False
        for item, (code, entry) in zip(inputs, answers, strict=True):
            if code == NEW and taken:
                entry_ = QueuedEntry(entry, call.call_id, item.index, item.method, item.payload)
                if (held := self._hold(call, entry_)) is not None:
                    self._dispatcher.enqueue(held)
            elif code == NEW:
                function.backlog = True
            elif code != HAS_RESULT and (call.call_id, item.index) not in self._state.inputs:
                unknown = True
        if unknown:  # accepted by a request whose reply was lost, or it waits on the stream
            self._tasks.start(self.adopt_taken(function), "adopt inputs")
        self._dispatcher.pump()
        self.take_more(function)
        if not any(agent.outbox is not None for agent in self._state.agents.values()):
            self.on_no_agent()

    def call(self, call_id: str, function: Function, meta: CallMeta) -> Call:
        """The call in memory, made from ``meta`` where it is not there."""
        call = self._state.calls.get(call_id)
        if call is None:
            call = self._state.calls[call_id] = Call(
                call_id=call_id,
                function=function,
                params=meta.params,
                strategy=meta.strategy,
                submitted_ns=meta.submitted_ns,
                kind=meta.kind,
                done=meta.done,
                total=meta.total,
            )
        return call

    def reap(self, call: Call) -> None:
        """Drop a call from memory when nothing here needs it; Redis has it."""
        if not call.held and not call.watchers:
            self._state.calls.pop(call.call_id, None)

    def _hold(self, call: Call, entry: QueuedEntry) -> HeldInput | None:
        """Take an input into memory; None when it is there already."""
        key = (entry.call_id, entry.index)
        if key in self._state.inputs:
            return None
        item = HeldInput(call, entry.index, entry.method, entry.payload, entry.entry)
        self._state.inputs[key] = item
        function = call.function
        call.held += 1
        function.held += 1
        function.held_bytes += len(item.payload)
        function.mean_bytes += (len(item.payload) - function.mean_bytes) / 32
        return item

    def release(self, item: HeldInput) -> None:
        """Drop a completed input from memory."""
        if self._state.inputs.pop(item.key, None) is None:
            return
        function = item.call.function
        item.call.held -= 1
        function.held -= 1
        function.held_bytes -= len(item.payload)
        self.on_released(function, item.call.params, 1)
        self.reap(item.call)

    # ---- taking inputs from the stream

    def take_more(self, function: Function) -> None:
        """Take inputs that wait on the stream, where memory has room for them."""
        if not function.backlog or function.taking or function.app.closing:
            return
        if self._room(function) <= 0:
            return
        function.taking = True
        function.taken.clear()
        self._tasks.start(self._take(function), "take inputs")

    def _room(self, function: Function) -> int:
        settings = self._settings
        if function.held and function.held_bytes >= settings.held_bytes:
            return 0
        by_size = max(1, int(_TAKE_BYTES / max(1.0, function.mean_bytes)))
        return min(settings.held_inputs - function.held, _TAKE_INPUTS, by_size)

    async def _take(self, function: Function) -> None:
        try:
            while function.backlog and not function.app.closing:
                count = self._room(function)
                if count <= 0:
                    return
                function.backlog = False  # an accept that comes in meanwhile sets it again
                entries, left = await self._store.take(function.function_id, count)
                function.backlog = function.backlog or left
                await self._hold_entries(function, entries)
        finally:
            function.taking = False
            function.taken.set()

    async def adopt_taken(self, function: Function) -> None:
        """Hold inputs that are taken but not in memory (a reply was lost, a restart)."""
        async for entries in self._store.taken(function.function_id):
            fresh = [e for e in entries if (e.call_id, e.index) not in self._state.inputs]
            await self._hold_entries(function, fresh)

    async def _hold_entries(
        self, function: Function, entries: Sequence[QueuedEntry], *, adrift: bool = False
    ) -> None:
        if not entries:
            return
        function_id = function.function_id
        call_ids = list({entry.call_id for entry in entries})
        metas = await self._store.call_metas(function_id, call_ids)
        kept = await self._store.progress(function_id, [(e.call_id, e.index) for e in entries])
        for entry, progress in zip(entries, kept, strict=True):
            meta = metas[entry.call_id]
            if meta is None or progress is None or progress.entry != entry.entry:
                continue  # completed while we were reading
            if function.app.closing:
                break  # cancel() completes what is taken
            call = self.call(entry.call_id, function, meta)
            item = self._hold(call, entry)
            if item is not None:
                self._resume(item, progress, adrift)
        self._dispatcher.pump()

    def _resume(self, item: HeldInput, progress: InputProgress, adrift: bool) -> None:
        item.lost, item.retries = progress.lost, progress.retries
        wait_s = progress.due_ms / 1000 - time.time()
        if progress.due_ms and wait_s > 0:
            item.state = InputState.DELAYED
            self._dispatcher.delay(item, wait_s)
        elif adrift:
            item.state = InputState.ADRIFT  # an agent may come back with it
        else:
            self._dispatcher.enqueue(item)

    async def recover(self, function: Function, *, adrift: bool) -> None:
        """Read back what the controller before this one had taken."""
        async for entries in self._store.taken(function.function_id):
            await self._hold_entries(function, entries, adrift=adrift)
        function.backlog = True  # whether it is so, the first take tells


def app_closed(name: str) -> ExecutionError:
    """The error of a request to an app that is closing."""
    return ExecutionError(f"the app {name!r} is closed; run it again to call its functions")
