"""The results of agents: stored as they are, or tried again where the function asks for that.

The plain case, a result of an input that travels in its group, is a few dictionary operations:
nothing is parsed. All else takes the input out of its group first.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from rekindle.controller.core import Core
from rekindle.controller.detached import DetachedState
from rekindle.controller.events import InputRetried
from rekindle.controller.queue.completion import BATCH_BYTES, BATCH_INPUTS, Completer
from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.finalizer import Finalizer, FinalResult
from rekindle.controller.queue.stream_loader import StreamLoader
from rekindle.controller.queue.table import InputTable
from rekindle.controller.state import (
    Agent,
    AssignedBatch,
    Call,
    DetachedInput,
    Holder,
    QueuedBatch,
    ResultBatch,
)
from rekindle.controller.storage.records import UNDONE, UNKNOWN
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.messages import refuse_too_large

log = logging.getLogger(__name__)

_TRIED_AGAIN = (pb.FAILURE, pb.TIMEOUT)
_PLAIN = (pb.SUCCESS, pb.CANCELLED)


@dataclass(eq=False)
class ResultIntake:
    """Completes inputs with the results of agents, or tries them again."""

    _core: Core
    _table: InputTable
    _dispatcher: Dispatcher
    _completer: Completer
    _finalizer: Finalizer
    _loader: StreamLoader

    # ---- results

    def done(self, agent: Agent, message: pb.Done, log_seq: int) -> None:
        """An agent has results; they are acknowledged when they are stored."""
        indexes = list(message.indexes)
        call = self._core.state.calls.get(message.call_id)
        if call is None:
            self._core.tasks.spawn(self._unheld(agent, message, log_seq, indexes), "settle results")
            return
        function = call.function
        function.learn(len(indexes), message.execute_ns)
        suffix = pb.Result(log_seq=log_seq, deliveries=1).SerializeToString()
        plain: tuple[int, ...] = _PLAIN
        if function.spec.retries is None:
            plain = (*_PLAIN, *_TRIED_AGAIN)
        batch = ResultBatch(call)
        mine: list[int] = []
        unheld: list[int] = []
        taken: dict[AssignedBatch, int] = {}
        undone, complete = call.undone, self._table.complete
        large = self._core.settings.max_payload_bytes
        for index, status, raw in zip(indexes, message.statuses, message.results, strict=True):
            holder = undone.get(index)
            if (
                type(holder) is AssignedBatch
                and holder.agent is agent
                and status in plain
                and len(raw) <= large
            ):
                item = holder.out.pop(index)
                taken[holder] = taken.get(holder, 0) + 1
                final = None
                result, entry = raw + suffix, holder.entry
            elif holder is None:
                unheld.append(index)
                continue
            else:
                final = self._judge(agent, call, holder, index, status, raw, log_seq)
                if final is None:
                    continue
                result = final.result
            if batch.count and (
                batch.count >= BATCH_INPUTS or batch.size + len(result) > BATCH_BYTES
            ):
                batch = self._next(batch, agent, mine)
                mine = []
            mine.append(index)
            if final is not None:
                self._finalizer.add(batch, final)
                continue
            complete(batch, entry, index, result, status)
            if item.blob:
                batch.blobs.append(item.blob)
        for part, count in taken.items():
            self._table.released(part, count)
        if batch.count:
            self._next(batch, agent, mine)
        if unheld:
            work = self._unheld(agent, message, log_seq, unheld)
            self._core.tasks.spawn(work, "settle results")
        self._dispatcher.pump()

    def _next(self, batch: ResultBatch, agent: Agent, indexes: list[int]) -> ResultBatch:
        batch.acks.append((agent, indexes))
        self._completer.store(batch)
        return ResultBatch(batch.call)

    def _judge(
        self,
        agent: Agent,
        call: Call,
        holder: Holder,
        index: int,
        status: int,
        raw: bytes,
        log_seq: int,
    ) -> FinalResult | None:
        """What a result means that is not plain; None when it is not stored (now)."""
        if isinstance(holder, ResultBatch):  # a first result is on its way to the store
            holder.acks.append((agent, [index]))
            return None
        its_agent = None if isinstance(holder, QueuedBatch) else holder.agent
        retries = call.function.spec.retries
        used = holder.retries if isinstance(holder, DetachedInput) else 0
        tries = retries.max_retries if retries is not None and not call.cancelled else 0
        if status in _TRIED_AGAIN and used < tries:
            if its_agent is agent:
                item = self._table.detach(holder, index)
                self._core.tasks.spawn(self._retry(agent, item), "retry")
            else:  # a later delivery of it is under way, and decides
                agent.acknowledge(call.call_id, [index])
            return None
        if its_agent is not None and its_agent is not agent:
            its_agent.stop(call.call_id, [index], kill=True)
        item = self._table.detach(holder, index)
        result = _readable(raw, call, index)
        result.log_seq, result.deliveries = log_seq, item.delivery
        refuse_too_large(result, self._core.settings.max_payload_bytes)
        return self._finalizer.end(item, result)

    async def _unheld(
        self, agent: Agent, message: pb.Done, log_seq: int, indexes: list[int]
    ) -> None:
        """Results of inputs that are not in memory: completed before, nearly always."""
        call_id = message.call_id
        function = self._core.state.functions.get(message.function_id)
        undone: set[int] = set()
        if function is not None:
            others = await self._completer.look_up(function, call_id, indexes)
            undone = {index for index, outcome in others.items() if outcome == UNDONE}
            unknown = sum(outcome == UNKNOWN for outcome in others.values())
            if unknown:
                log.info("results of unknown inputs", extra=kv(call=call_id, inputs=unknown))
        if undone and function is not None:  # lost track of: take them up, then it counts
            await self._loader.adopt(function)
            call = self._core.state.calls.get(call_id)
            undone &= call.undone.keys() if call is not None else set()
        again = pb.Done(call_id=call_id, function_id=message.function_id, app_id=message.app_id)
        for at, index in enumerate(message.indexes):
            if index in undone:
                again.indexes.append(index)
                again.statuses.append(message.statuses[at])
                again.results.append(message.results[at])
        if again.indexes:
            self.done(agent, again, log_seq)
        agent.acknowledge(call_id, [index for index in indexes if index not in undone])

    # ---- trying again

    async def _retry(self, agent: Agent, item: DetachedInput) -> None:
        spec = item.call.function.spec.retries
        assert spec is not None
        item.move(DetachedState.DELAYED)
        item.retries += 1
        self._core.publish(InputRetried(item.call))
        due = time.time() + spec.delay_s(item.retries)
        await self._completer.keep_progress([item], int(due * 1000))
        if item.state is DetachedState.DELAYED and item.timer is None:
            self._dispatcher.delay(item, due - time.time())
        agent.acknowledge(item.call.call_id, [item.index])


def _readable(raw: bytes, call: Call, index: int) -> pb.Result:
    """A result that an agent sent; an error of ours in the place of one that is none, as its input
    is taken out of its group by now and would have no end."""
    try:
        return pb.Result.FromString(raw)
    except DecodeError as error:
        log.error("a result cannot be read", extra=kv(call=call.call_id, index=index, reason=error))
        return pb.Result(
            call_id=call.call_id,
            index=index,
            function_id=call.function.function_id,
            status=pb.INTERNAL,
            error_type="rekindle.exception.InternalFailure",
            message="the input ran, but what its agent sent as its result cannot be read",
        )
