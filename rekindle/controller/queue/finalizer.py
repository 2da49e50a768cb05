"""How inputs end: their last result, the dead letter that some leave, and ends without an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from rekindle.controller.detached import DetachedState
from rekindle.controller.queue.completion import BATCH_INPUTS, Completer
from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.table import InputTable
from rekindle.controller.state import (
    Agent,
    Call,
    DetachedInput,
    QueuedBatch,
    ResultBatch,
)
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import now_ns


@dataclass(slots=True)
class FinalResult:
    """The last result of an input that is alone, not stored yet."""

    item: DetachedInput
    result: bytes
    status: int
    letter: tuple[bytes, bytes] | None


@dataclass(eq=False)
class Finalizer:
    """Ends inputs."""

    _table: InputTable
    _dispatcher: Dispatcher
    _completer: Completer

    def end(self, item: DetachedInput, result: pb.Result) -> FinalResult:
        """The end of an input that is detached: from now on the first result is in hand."""
        self._dispatcher.forget_timer(item)
        item.move(DetachedState.DONE)
        result.function_id = item.call.function.function_id
        letter = letter_of(item, result)
        return FinalResult(item, result.SerializeToString(), result.status, letter)

    def add(self, batch: ResultBatch, final: FinalResult) -> None:
        """Put an input's end into a batch, with what goes with it besides the result."""
        item = final.item
        self._table.complete(batch, item.entry, item.index, final.result, final.status)
        if item.kept:
            batch.kept.append(item.index)
        if final.letter is not None:
            batch.letters[item.index] = final.letter
        elif item.input.blob:
            batch.blobs.append(item.input.blob)

    async def cancel(
        self, call: Call, indexes: Iterable[int], reason: str = "", *, kill: bool = True
    ) -> None:
        """Complete inputs of a call that was cancelled, or whose app is closing; as ``finish``."""
        if not reason:
            closed = f"the app {call.function.app.name!r} was closed"
            reason = "the call was cancelled" if call.cancelled else closed
        await self.finish(call, indexes, pb.CANCELLED, reason, kill=kill)

    async def finish(
        self,
        call: Call,
        indexes: Iterable[int],
        status: pb.ResultStatus,
        message: str,
        *,
        kill: bool = True,
    ) -> None:
        """Complete inputs that are held here, wherever they are; returns when it is stored.

        Agents that have some of them are ordered to drop them; ``kill``: with their runners.
        """
        stops: dict[Agent, list[int]] = {}
        batches = [ResultBatch(call)]
        for index in indexes:
            holder = call.undone.get(index)
            if holder is None or isinstance(holder, ResultBatch):
                continue
            if not isinstance(holder, QueuedBatch) and holder.agent is not None:
                stops.setdefault(holder.agent, []).append(index)
            item = self._table.detach(holder, index)
            result = pb.Result(
                call_id=call.call_id,
                index=index,
                status=status,
                message=message,
                submitted_ns=call.submitted_ns,
                deliveries=item.lost + item.retries,
            )
            if batches[-1].count >= BATCH_INPUTS:
                batches.append(ResultBatch(call))
            self.add(batches[-1], self.end(item, result))
        for agent, stopped in stops.items():
            agent.stop(call.call_id, stopped, kill=kill)
        await asyncio.gather(*(self._completer.stored(one) for one in batches if one.count))


def letter_of(item: DetachedInput, result: pb.Result) -> tuple[bytes, bytes] | None:
    """The dead letter of an input that ends so, and the request that would bring it back.

    None for one that leaves none: only inputs of calls that no one waits for are kept.
    """
    call = item.call
    if call.kind == "invoke" or not _is_dead(item, result):
        return None
    function = call.function
    letter = pb.DeadLetter(
        call_id=call.call_id,
        index=item.index,
        function_id=function.function_id,
        app=function.app.name,
        function=function.name,
        reason=result.message,
        error_type=result.error_type or pb.ResultStatus.Name(result.status),
        traceback=result.traceback,
        deliveries=result.deliveries,
        at_ns=now_ns(),
        payload_bytes=len(item.input.payload),
    )
    request = pb.SubmitRequest(
        function_id=function.function_id,
        params=call.params,
        inputs=[item.input],
        strategy=call.strategy,
    )
    return letter.SerializeToString(), request.SerializeToString()


def _is_dead(item: DetachedInput, result: pb.Result) -> bool:
    if result.status in (pb.RUNNER_LOST, pb.INTERNAL):
        return True
    if result.status == pb.START_FAILURE:
        return not result.data  # rekindle's own; the user's exception is in data
    retries = item.call.function.spec.retries
    declared = retries is not None and retries.max_retries > 0
    return declared and result.status in (pb.FAILURE, pb.TIMEOUT)
