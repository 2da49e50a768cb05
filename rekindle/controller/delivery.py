"""The life of an input: accepted once, handed out, completed once.

Redis decides what counts (lua/accept.lua, lua/complete.lua); this module moves the inputs that
are in memory through the states of ``state.InputState`` accordingly.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from rekindle.controller.dispatcher import Dispatcher
from rekindle.controller.records import (
    DUPLICATE,
    HAS_RESULT,
    NEW,
    UNKNOWN,
    CallMeta,
    InputProgress,
    QueuedEntry,
)
from rekindle.controller.settings import MIB, Settings
from rekindle.controller.state import (
    Agent,
    App,
    Call,
    Function,
    HeldInput,
    InputKey,
    InputState,
    State,
)
from rekindle.controller.store import NewInput, QueueStore
from rekindle.controller.tasks import Tasks
from rekindle.exception import ExecutionError, ServiceError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_TAKE_BYTES = 16 * MIB
_TAKE_INPUTS = 256


class Delivery:
    """Accepts inputs, completes them, places them again when a runner or an agent is lost."""

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
            if call.complete:
                self._wake_watchers(call)
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

    def _release(self, item: HeldInput) -> None:
        """Drop a completed input from memory."""
        if self._state.inputs.pop(item.key, None) is None:
            return
        function = item.call.function
        item.call.held -= 1
        function.held -= 1
        function.held_bytes -= len(item.payload)
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
            self._arm(item, wait_s)
        elif adrift:
            item.state = InputState.ADRIFT  # an agent may come back with it
        else:
            self._dispatcher.enqueue(item)

    async def recover(self, function: Function, *, adrift: bool) -> None:
        """Read back what the controller before this one had taken."""
        async for entries in self._store.taken(function.function_id):
            await self._hold_entries(function, entries, adrift=adrift)
        function.backlog = True  # whether it is so, the first take tells

    # ---- completing

    def done(self, agent: Agent, result: pb.Result) -> None:
        """An agent has a result; it is acknowledged when it is stored."""
        self._tasks.start(self._done(agent, result), "store a result")

    async def _done(self, agent: Agent, result: pb.Result) -> None:
        key = (result.call_id, result.index)
        item = self._state.inputs.get(key)
        if item is None:  # completed before, or its app is closed: the store knows
            if result.function_id:
                await self._complete(result.function_id, result, self._settings.result_ttl_s)
        elif item.state is InputState.DONE:  # the first result is on its way to the store
            item.stored = item.stored or asyncio.Event()
            await item.stored.wait()
        else:
            result.deliveries = item.lost + item.retries + 1
            self._limit(result)
            if not self._wants_retry(item, result):
                await self.finish(item, result, source=agent)
            elif item.agent_id == agent.agent_id:
                await self._retry(agent, item)
            # else a later delivery of it is under way, and decides
        agent.send(pb.ControllerMessage(ack=pb.AckDone(call_id=result.call_id, index=result.index)))
        self._dispatcher.pump()

    def _limit(self, result: pb.Result) -> None:
        limit = self._settings.max_payload_bytes
        if len(result.data) <= limit:
            return
        size, result.data = len(result.data), b""
        result.status = pb.FAILURE
        result.error_type = "rekindle.exception.RequestSizeError"
        result.message = payload_too_large("the result", size, limit)

    @staticmethod
    def _wants_retry(item: HeldInput, result: pb.Result) -> bool:
        spec = item.call.function.spec.retries
        return (
            spec is not None
            and result.status in (pb.FAILURE, pb.TIMEOUT)
            and item.retries < spec.max_retries
        )

    async def _retry(self, agent: Agent, item: HeldInput) -> None:
        spec = item.call.function.spec.retries
        assert spec is not None
        item.move(InputState.DELAYED)
        agent.drop(item)
        item.retries += 1
        due = time.time() + spec.delay_s(item.retries)
        await self._keep(item, due_ms=int(due * 1000))
        if item.state is InputState.DELAYED:
            self._arm(item, due - time.time())

    def _arm(self, item: HeldInput, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        item.timer = loop.call_later(max(0.0, wait_s), self._due, item)

    def _due(self, item: HeldInput) -> None:
        if item.state is InputState.DELAYED:
            self.place_again(item)
            self._dispatcher.pump()

    async def _keep(self, item: HeldInput, due_ms: int = 0) -> None:
        call = item.call
        await self._store.keep_progress(
            call.function.function_id,
            call.call_id,
            item.index,
            lost=item.lost,
            retries=item.retries,
            due_ms=due_ms,
        )

    async def finish(self, item: HeldInput, result: pb.Result, source: Agent | None = None) -> None:
        """Complete an input that is held here, in whatever state it is.

        An agent that has it, other than the ``source`` of the result, is told to stop it.
        """
        if item.state is InputState.DONE:
            return
        agent = self._state.agents.get(item.agent_id)
        item.move(InputState.DONE)
        if item.timer is not None:
            item.timer.cancel()
        if agent is not None:
            agent.drop(item)
            if agent is not source:
                stop = pb.CancelInput(call_id=result.call_id, index=result.index)
                agent.send(pb.ControllerMessage(cancel=stop))
        call = item.call
        ttl = self._settings.invoke_ttl_s if call.kind == "invoke" else self._settings.result_ttl_s
        await self._complete(call.function.function_id, result, ttl)
        self._release(item)
        if item.stored is not None:
            item.stored.set()
        self.take_more(call.function)

    async def _complete(self, function_id: str, result: pb.Result, ttl_s: int) -> None:
        key: InputKey = (result.call_id, result.index)
        result.function_id = function_id
        data = result.SerializeToString()
        got = await self._store.complete(function_id, *key, data, ttl_s)
        if got.outcome == UNKNOWN:
            log.info("a result of an unknown input", extra=kv(call=key[0], index=key[1]))
        elif got.outcome == DUPLICATE and key in self._state.waiters:
            stored = await self._store.result(function_id, *key)
            result = pb.Result.FromString(stored) if stored is not None else result
        for waiter in self._state.waiters.get(key, ()):
            if not waiter.done():
                waiter.set_result(result)
        call = self._state.calls.get(key[0])
        if call is None:
            return
        call.counted(got.done, got.total)
        if got.outcome != UNKNOWN:
            for watcher in call.watchers:
                # A slow reader gets the index alone, and reads the result from the store.
                watcher.fresh.append((result.index, result if len(watcher.fresh) < 32 else None))
        self._wake_watchers(call)

    def wake_watchers_of(self, app: App) -> None:
        """Let streams of a closed app's calls end, also where the last input never came."""
        for call in list(self._state.calls.values()):
            if call.function.app is app:
                self._wake_watchers(call)

    @staticmethod
    def _wake_watchers(call: Call) -> None:
        for watcher in call.watchers:
            watcher.wake.set()

    # ---- placing again

    def place_again(self, item: HeldInput) -> None:
        """Make a DELAYED or ADRIFT input ready."""
        item.move(InputState.QUEUED)
        item.timer = None
        self._dispatcher.enqueue(item, first=True)

    async def lost(self, item: HeldInput, reason: str) -> None:
        """A delivery was lost with its runner or agent: place the input again, or give it up."""
        item.lost += 1
        if item.state is InputState.ASSIGNED:
            item.move(InputState.ADRIFT)
        agent = self._state.agents.get(item.agent_id)
        if agent is not None:
            agent.drop(item)
        log.warning(
            "a delivery was lost",
            extra=kv(call=item.call.call_id, index=item.index, lost=item.lost, reason=reason),
        )
        if item.lost >= self._settings.max_deliveries:
            await self.finish(
                item,
                verdict(
                    item,
                    pb.RUNNER_LOST,
                    f"the runner was lost {item.lost} times while it had this input, "
                    f"the last time because: {reason}",
                ),
            )
            return
        await self._keep(item)
        if item.state is InputState.ADRIFT:
            self.place_again(item)
            self._dispatcher.pump()

    def returned(self, agent: Agent, key: InputKey, reason: str) -> None:
        """An agent gives an input back: its runner died."""
        item = agent.inputs.get(key)
        if item is not None and item.state is InputState.ASSIGNED:
            self._tasks.start(self.lost(item, reason or "no reason given"), "place again")

    async def cancel(self, function: Function, reason: str) -> None:
        """Complete all undone inputs of a function as CANCELLED, those on the stream too."""
        self._dispatcher.forget(function)
        held = [
            item
            for item in self._state.inputs.values()
            if item.call.function is function and item.state is not InputState.DONE
        ]
        await asyncio.gather(
            *(self.finish(item, verdict(item, pb.CANCELLED, reason)) for item in held)
        )
        await function.taken.wait()  # no more than one take is on its way
        while True:
            entries, _ = await self._store.take(function.function_id, _TAKE_INPUTS)
            if not entries:
                break
        async for entries in self._store.taken(function.function_id):
            await asyncio.gather(*(self._cancel_entry(function, one, reason) for one in entries))

    async def _cancel_entry(self, function: Function, entry: QueuedEntry, reason: str) -> None:
        result = pb.Result(
            call_id=entry.call_id, index=entry.index, status=pb.CANCELLED, message=reason
        )
        await self._complete(function.function_id, result, self._settings.result_ttl_s)


def verdict(item: HeldInput, status: pb.ResultStatus, message: str) -> pb.Result:
    """A result that the controller itself gives."""
    return pb.Result(
        call_id=item.call.call_id,
        index=item.index,
        status=status,
        message=message,
        function_id=item.call.function.function_id,
        submitted_ns=item.call.submitted_ns,
        deliveries=item.lost + item.retries,
    )


def app_closed(name: str) -> ExecutionError:
    """The error of a request to an app that is closing."""
    return ExecutionError(f"the app {name!r} is closed; run it again to call its functions")


def payload_too_large(what: str, size: int, limit: int) -> str:
    """The message of a payload over the limit, with how to raise it."""
    return (
        f"{what} is {size / MIB:.1f} MiB, over the limit of {limit / MIB:.1f} MiB "
        f"({size} > {limit} bytes); pass large data by file, or raise "
        "REKINDLE_MAX_PAYLOAD_BYTES where the controller is started"
    )
