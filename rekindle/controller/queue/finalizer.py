"""How an input leaves its group, and how it ends by the controller's own word."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from rekindle.controller.queue.completion import BATCH_INPUTS, Completer, verdict
from rekindle.controller.queue.dead_letters import DeadLetters
from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.inputs import (
    AssignedBatch,
    DetachedInput,
    DetachedState,
    QueuedBatch,
    ResultBatch,
)
from rekindle.controller.state import Agent, Call
from rekindle.controller.storage.records import InputProgress
from rekindle.controller.storage.store import QueueStore
from rekindle.wire import rekindle_pb2 as pb


@dataclass(slots=True)
class FinalResult:
    """The end of an input that is alone, not stored yet."""

    item: DetachedInput
    result: bytes
    status: int
    letter: tuple[bytes, bytes] | None


class Finalizer:
    """Takes inputs out of their groups, and completes them."""

    def __init__(
        self,
        store: QueueStore,
        dispatcher: Dispatcher,
        completer: Completer,
        letters: DeadLetters,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._completer = completer
        self._letters = letters

    def alone(
        self, holder: QueuedBatch | AssignedBatch | DetachedInput, index: int
    ) -> DetachedInput:
        """An input by itself, out of its group and of its agent's hands."""
        if isinstance(holder, DetachedInput):
            self._dispatcher.take_back_lone(holder)
            return holder
        if isinstance(holder, QueuedBatch):
            item = DetachedInput(holder.entry, holder.drop(index), DetachedState.QUEUED)
        else:
            item = DetachedInput(
                holder.entry, self._dispatcher.take_back(holder, index), DetachedState.ASSIGNED
            )
        item.ambiguous = holder.ambiguous
        holder.entry.call.undone[index] = item
        return item

    async def keep(self, items: list[DetachedInput], due_ms: int = 0) -> None:
        """Have Redis know of the deliveries of inputs of one call, and when the next is due."""
        call = items[0].call
        kept = {}
        for item in items:
            item.kept = True
            kept[item.index] = InputProgress(item.lost, item.retries, item.ambiguous, due_ms)
        await self._store.keep_progress(call.function.function_id, call.call_id, kept)

    def end(self, item: DetachedInput, result: pb.Result) -> FinalResult:
        """The end of an input that is alone: from now on the first result is in hand."""
        self._dispatcher.forget_timer(item)
        self._dispatcher.take_back_lone(item)
        item.move(DetachedState.DONE)
        result.function_id = item.call.function.function_id
        letter = self._letters.letter(item, result)
        return FinalResult(item, result.SerializeToString(), result.status, letter)

    def settle(self, batch: ResultBatch, ending: FinalResult) -> None:
        """Note in a batch what goes with an input's end besides its result."""
        item = ending.item
        if item.kept:
            batch.kept.append(item.index)
        if ending.letter is not None:
            batch.letters[item.index] = ending.letter
        elif item.input.blob:
            batch.blobs.append(item.input.blob)

    async def finish(
        self, call: Call, indexes: Iterable[int], status: pb.ResultStatus, message: str
    ) -> None:
        """Complete inputs that are held here, wherever they are; returns when it is stored.

        Agents that have some of them are told to drop them, with their runners.
        """
        stops: dict[Agent, list[int]] = {}
        batches = [ResultBatch(call)]
        for index in indexes:
            holder = call.undone.get(index)
            if holder is None or isinstance(holder, ResultBatch):
                continue
            if not isinstance(holder, QueuedBatch) and holder.agent is not None:
                stops.setdefault(holder.agent, []).append(index)
            item = self.alone(holder, index)
            tried = item.lost + item.retries
            ending = self.end(item, verdict(call, index, status, message, tried))
            if batches[-1].count >= BATCH_INPUTS:
                batches.append(ResultBatch(call))
            batches[-1].add(item.entry, index, ending.result, status)
            call.undone[index] = batches[-1]
            self.settle(batches[-1], ending)
        for agent, stopped in stops.items():
            agent.stop(call.call_id, stopped, kill=True)
        await asyncio.gather(*(self._completer.stored(one) for one in batches if one.count))
