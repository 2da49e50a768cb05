"""Calls and functions that are cancelled: what is queued never starts, what runs is told to end.

A call's mark is in Redis before it is acknowledged; so it holds after a restart, and for inputs
that are submitted later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.finalizer import Finalizer
from rekindle.controller.queue.inputs import QueuedBatch, ResultBatch
from rekindle.controller.queue.stream_loader import StreamLoader
from rekindle.controller.state import Agent, Call, Function, State
from rekindle.controller.storage.store import QueueStore
from rekindle.controller.tasks import Tasks
from rekindle.exception import NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

REASON = "the call was cancelled"


class Cancelling:
    """Cancels calls, and all that a closing app has."""

    def __init__(
        self,
        state: State,
        store: QueueStore,
        dispatcher: Dispatcher,
        finalizer: Finalizer,
        loader: StreamLoader,
        tasks: Tasks,
    ) -> None:
        self._state = state
        self._store = store
        self._dispatcher = dispatcher
        self._finalizer = finalizer
        self._loader = loader
        self._tasks = tasks
        loader.cancel = self._over

    async def _over(self, call: Call, indexes: Iterable[int]) -> None:
        app = call.function.app
        reason = REASON if call.cancelled else f"the app {app.name!r} was closed"
        await self._finalizer.finish(call, indexes, pb.CANCELLED, reason)

    async def call(self, call_id: str, *, terminate: bool) -> pb.CancelCallReply:
        """Cancel a call; how many of its inputs were queued, and how many ran.

        Raises NotFoundError for a call that is not known, or whose results are gone.
        """
        held = self._state.calls.get(call_id)
        if held is not None:
            function_id = held.function.function_id
        else:
            at = await self._store.index_of(call_id)
            function_id = at.function_id if at is not None else ""
        entries = None
        if function_id:
            mode = 2 if terminate else 1
            entries = await self._store.cancel(function_id, call_id, mode)
        if entries is None:
            raise NotFoundError(f"no call {call_id!r}: it is not known, or its results are gone")
        reply = pb.CancelCallReply()
        call = self._state.calls.get(call_id)
        if call is not None:
            call.cancelled = max(call.cancelled, 2 if terminate else 1)
            await self._cancel_held(call, reply, terminate=terminate)
        function = self._state.functions.get(function_id)
        if function is not None:
            missing = [one for one in entries if one not in function.entries]
            if missing:
                before = function.undone
                await self._loader.hold(function, missing)
                reply.queued += max(0, before - function.undone)
        log.info(
            "call cancelled", extra=kv(call=call_id, queued=reply.queued, running=reply.running)
        )
        return reply

    async def _cancel_held(self, call: Call, reply: pb.CancelCallReply, *, terminate: bool) -> None:
        queued: list[int] = []
        running: dict[Agent, list[int]] = {}
        for index, holder in call.undone.items():
            if isinstance(holder, ResultBatch):
                continue
            agent = None if isinstance(holder, QueuedBatch) else holder.agent
            if agent is None:
                # Adrift after a restart: an agent may have it, and is told so when it is back.
                queued.append(index)
            else:
                running.setdefault(agent, []).append(index)
        for agent, indexes in running.items():
            agent.stop(call.call_id, indexes, kill=terminate)
            reply.running += len(indexes)
        reply.queued += len(queued)
        await self._finalizer.finish(call, queued, pb.CANCELLED, REASON)

    def hung_up(self, call: Call) -> None:
        """The caller of a call that is waited for is gone."""
        log.info("the caller is gone", extra=kv(call=call.call_id))
        self._tasks.start(self.call(call.call_id, terminate=False), "cancel call")

    async def function(self, function: Function, reason: str) -> None:
        """Complete all undone inputs of a function as CANCELLED, those on the stream too."""
        self._dispatcher.forget(function)
        calls = [call for call in self._state.calls.values() if call.function is function]
        await asyncio.gather(
            *(
                self._finalizer.finish(call, list(call.undone), pb.CANCELLED, reason)
                for call in calls
            )
        )
        await self._loader.drain(function)
        for call in calls:  # what was on its way to the store meanwhile
            call.wake_watchers()
