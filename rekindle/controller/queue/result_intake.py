"""The results of agents: stored as they are, or tried again where the function asks for that.

The plain case, a result of an input that travels in its group, is a few dictionary operations:
nothing is parsed. All else takes the input out of its group first.
"""

from __future__ import annotations

import logging
import time

from rekindle.controller.limits import payload_too_large
from rekindle.controller.queue.completion import BATCH_BYTES, BATCH_INPUTS, Completer
from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.events import Events
from rekindle.controller.queue.finalizer import Finalizer, FinalResult
from rekindle.controller.queue.inputs import (
    AssignedBatch,
    DetachedInput,
    DetachedState,
    Holder,
    QueuedBatch,
    ResultBatch,
)
from rekindle.controller.queue.stream_loader import StreamLoader
from rekindle.controller.settings import Settings
from rekindle.controller.state import Agent, Call, State
from rekindle.controller.storage.records import UNDONE, UNKNOWN
from rekindle.controller.tasks import Tasks
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_TRIED_AGAIN = (pb.FAILURE, pb.TIMEOUT)
_PLAIN = (pb.SUCCESS, pb.CANCELLED)


class Delivery:
    """Completes inputs with the results of agents, or tries them again."""

    def __init__(
        self,
        state: State,
        dispatcher: Dispatcher,
        completer: Completer,
        finalizer: Finalizer,
        loader: StreamLoader,
        tasks: Tasks,
        settings: Settings,
        events: Events,
    ) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._completer = completer
        self._finalizer = finalizer
        self._loader = loader
        self._tasks = tasks
        self._settings = settings
        self._events = events

    # ---- results

    def done(self, agent: Agent, message: pb.Done, log_seq: int) -> None:
        """An agent has results; they are acknowledged when they are stored."""
        indexes = list(message.indexes)
        call = self._state.calls.get(message.call_id)
        if call is None:
            self._tasks.start(self._unheld(agent, message, log_seq, indexes), "settle results")
            return
        function = call.function
        function.learn(len(indexes), message.execute_ns)
        suffix = pb.Result(log_seq=log_seq, deliveries=1).SerializeToString()
        statuses: list[int] = list(message.statuses)
        if len(statuses) != len(indexes):
            statuses = [pb.Result.FromString(raw).status for raw in message.results]
        plain: tuple[int, ...] = _PLAIN
        if function.spec.retries is None:
            plain = (*_PLAIN, *_TRIED_AGAIN)
        batch = ResultBatch(call, execute_ns=message.execute_ns)
        mine: list[int] = []
        unheld: list[int] = []
        taken: dict[AssignedBatch, int] = {}
        undone, large = call.undone, self._settings.max_payload_bytes
        for index, status, raw in zip(indexes, statuses, message.results, strict=True):
            holder = undone.get(index)
            if (
                type(holder) is AssignedBatch
                and holder.agent is agent
                and status in plain
                and len(raw) <= large
            ):
                item = holder.out.pop(index)
                taken[holder] = taken.get(holder, 0) + 1
                ending = None
                result, entry = raw + suffix, holder.entry
            elif holder is None:
                unheld.append(index)
                continue
            else:
                ending = self._judge(agent, call, holder, index, status, raw, log_seq)
                if ending is None:
                    continue
                item, entry = ending.item.input, ending.item.entry
                result, status = ending.result, ending.status
            if batch.count and (
                batch.count >= BATCH_INPUTS or batch.size + len(result) > BATCH_BYTES
            ):
                batch = self._next(batch, agent, mine)
                mine = []
            batch.add(entry, index, result, status)
            mine.append(index)
            undone[index] = batch
            if ending is not None:
                self._finalizer.settle(batch, ending)
            elif item.blob:
                batch.blobs.append(item.blob)
        for part, count in taken.items():
            agent.drop(function, count, part.weight, call.depth)
            if not part.out:
                agent.holdings.pop(part, None)
        if batch.count:
            self._next(batch, agent, mine)
        if unheld:
            work = self._unheld(agent, message, log_seq, unheld)
            self._tasks.start(work, "settle results")
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
                self._tasks.start(self._retry(agent, self._finalizer.alone(holder, index)), "retry")
            else:  # a later delivery of it is under way, and decides
                agent.acknowledge(call.call_id, [index])
            return None
        if its_agent is not None and its_agent is not agent:
            its_agent.stop(call.call_id, [index], kill=True)
        item = self._finalizer.alone(holder, index)
        result = pb.Result.FromString(raw)
        result.log_seq, result.deliveries = log_seq, item.delivery
        self._limit(result)
        return self._finalizer.end(item, result)

    def _limit(self, result: pb.Result) -> None:
        limit = self._settings.max_payload_bytes
        if len(result.data) <= limit:
            return
        size, result.data = len(result.data), b""
        if result.status != pb.SUCCESS:
            return  # an exception: its type, its text and its traceback come home
        result.status = pb.FAILURE
        result.error_type = "rekindle.exception.RequestSizeError"
        result.message = payload_too_large("the result", size, limit)

    async def _unheld(
        self, agent: Agent, message: pb.Done, log_seq: int, indexes: list[int]
    ) -> None:
        """Results of inputs that are not in memory: completed before, nearly always."""
        call_id = message.call_id
        function = self._state.functions.get(message.function_id)
        undone: set[int] = set()
        if function is not None:
            others = await self._completer.look_up(function, call_id, indexes)
            undone = {index for index, outcome in others.items() if outcome == UNDONE}
            unknown = sum(outcome == UNKNOWN for outcome in others.values())
            if unknown:
                log.info("results of unknown inputs", extra=kv(call=call_id, inputs=unknown))
        if undone and function is not None:  # lost track of: take them up, then it counts
            await self._loader.adopt(function)
            call = self._state.calls.get(call_id)
            undone &= call.undone.keys() if call is not None else set()
        again = pb.Done(call_id=call_id, function_id=message.function_id, app_id=message.app_id)
        statuses = list(message.statuses)
        for at, index in enumerate(message.indexes):
            if index in undone:
                again.indexes.append(index)
                again.results.append(message.results[at])
                if len(statuses) == len(message.indexes):
                    again.statuses.append(message.statuses[at])
        if again.indexes:
            self.done(agent, again, log_seq)
        agent.acknowledge(call_id, [index for index in indexes if index not in undone])

    # ---- trying again

    async def _retry(self, agent: Agent, item: DetachedInput) -> None:
        spec = item.call.function.spec.retries
        assert spec is not None
        item.move(DetachedState.DELAYED)
        item.retries += 1
        for listener in self._events.retried:
            listener(item.call)
        due = time.time() + spec.delay_s(item.retries)
        await self._finalizer.keep([item], int(due * 1000))
        if item.state is DetachedState.DELAYED and item.timer is None:
            self._dispatcher.delay(item, due - time.time())
        agent.acknowledge(item.call.call_id, [item.index])
