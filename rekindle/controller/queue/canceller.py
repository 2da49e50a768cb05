"""Cancels calls and functions: what is queued never starts, agents are ordered to end what runs.

A call's mark is in Redis before it is acknowledged; so it holds after a restart, and for inputs
that are submitted later.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from rekindle.controller.core import Core
from rekindle.controller.queue.finalizer import Finalizer
from rekindle.controller.queue.stream_loader import StreamLoader
from rekindle.controller.queue.table import InputTable
from rekindle.controller.state import Agent, Call, Function, QueuedBatch, ResultBatch
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.exception import NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Canceller:
    """Cancels calls, and all that a closing app has."""

    _core: Core
    _store: QueueStore
    _calls: CallStore
    _table: InputTable
    _finalizer: Finalizer
    _loader: StreamLoader

    async def call(self, call_id: str, *, terminate: bool) -> pb.CancelCallReply:
        """Cancel a call; how many of its inputs were queued, and how many ran.

        Raises NotFoundError for a call that is not known, or whose results are gone.
        """
        held, mode = self._core.state.calls.get(call_id), 2 if terminate else 1
        coming = held is not None and held.held > 0
        if held is not None:
            function_id = held.function.function_id
            # Inputs on their way to Redis may come there behind this; who accepts them looks here.
            held.cancelled = max(held.cancelled, mode)
        else:
            at = await self._calls.index_of(call_id)
            function_id = at.function_id if at is not None else ""
        entries = None
        if function_id:
            entries = await self._store.cancel(function_id, call_id, mode)
        if entries is None and not coming:
            raise NotFoundError(f"no call {call_id!r}: it is not known, or its results are gone")
        reply = pb.CancelCallReply()
        call = self._core.state.calls.get(call_id)
        if call is not None:
            call.cancelled = max(call.cancelled, mode)
            await self._cancel_held(call, reply, terminate=terminate)
        function = self._core.state.functions.get(function_id)
        if function is not None:
            missing = [one for one in entries or () if one not in function.entries]
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
                # Orphaned by a restart: an agent may have it, and hears of it when it is back.
                queued.append(index)
            else:
                running.setdefault(agent, []).append(index)
        for agent, indexes in running.items():
            agent.stop(call.call_id, indexes, kill=terminate)
            reply.running += len(indexes)
        reply.queued += len(queued)
        await self._finalizer.cancel(call, queued)

    def watch_for_caller(self, call: Call) -> None:
        """Cancel a call that no request waits for, unless its caller comes (back) soon."""

        def look() -> None:
            waited = any((call.call_id, index) in self._core.state.waiters for index in call.undone)
            if call.undone and not waited and not call.function.app.closing:
                log.info("the caller is gone", extra=kv(call=call.call_id))
                self._core.tasks.spawn(self.call(call.call_id, terminate=False), "cancel call")

        asyncio.get_running_loop().call_later(self._core.settings.caller_grace_s, look)

    async def function(self, function: Function, reason: str) -> None:
        """Complete all undone inputs of a function as CANCELLED, those on the stream too.

        What runs is interrupted: its runner is ended when its app is closed, after a grace.
        """
        self._table.drop_ready(function)
        calls = [call for call in self._core.state.calls.values() if call.function is function]
        mark = self._store.cancel  # for whoever asks afterwards what became of a call
        await asyncio.gather(
            *(
                mark(function.function_id, call.call_id, max(1, call.cancelled))
                for call in calls
                if call.undone
            )
        )
        await asyncio.gather(
            *(self._finalizer.cancel(call, list(call.undone), reason, kill=False) for call in calls)
        )
        await self._loader.drain(function)
        for call in calls:  # what was on its way to the store meanwhile
            call.wake_watchers()
