"""The end of an input: completed once, or placed again when a runner or an agent is lost.

Redis decides what counts (lua/complete.lua); this module moves the inputs that are in memory
through the states of ``state.InputState`` accordingly.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from rekindle.controller.dispatcher import Dispatcher
from rekindle.controller.intake import Intake
from rekindle.controller.limits import payload_too_large
from rekindle.controller.records import DUPLICATE, UNKNOWN, QueuedEntry
from rekindle.controller.settings import Settings
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
from rekindle.controller.store import QueueStore
from rekindle.controller.tasks import Tasks
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_CANCEL_INPUTS = 256


class Delivery:
    """Completes inputs, retries them, places them again, cancels them."""

    def __init__(
        self,
        state: State,
        store: QueueStore,
        dispatcher: Dispatcher,
        intake: Intake,
        tasks: Tasks,
        settings: Settings,
    ) -> None:
        self._state = state
        self._store = store
        self._dispatcher = dispatcher
        self._intake = intake
        self._tasks = tasks
        self._settings = settings
        intake.on_complete = self._wake_watchers
        #: Told that an input of a function has its result: (function id, status). For metrics.
        self.on_completed: Callable[[str, int], None] = lambda function_id, status: None

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
        ack = pb.AckDone(call_id=result.call_id, indexes=[result.index])
        agent.send(pb.ControllerMessage(ack=ack))
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
            self._dispatcher.delay(item, due - time.time())

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
                stop = pb.CancelInputs(call_id=result.call_id, indexes=[result.index], kill=True)
                agent.send(pb.ControllerMessage(cancel=stop))
        call = item.call
        ttl = self._settings.invoke_ttl_s if call.kind == "invoke" else self._settings.result_ttl_s
        await self._complete(call.function.function_id, result, ttl)
        self._intake.release(item)
        if item.stored is not None:
            item.stored.set()
        self._intake.take_more(call.function)

    async def _complete(self, function_id: str, result: pb.Result, ttl_s: int) -> None:
        key: InputKey = (result.call_id, result.index)
        result.function_id = function_id
        data = result.SerializeToString()
        got = await self._store.complete(function_id, *key, data, ttl_s)
        if got.outcome not in (UNKNOWN, DUPLICATE):
            self.on_completed(function_id, result.status)
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
            self._dispatcher.place_again(item)
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
        while (await self._store.take(function.function_id, _CANCEL_INPUTS))[0]:
            pass
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
