"""Stores results, a batch at a time, and hands them to those who wait for them.

Redis decides what counts (lua/complete.lua): the first result of an input wins. Results are passed
on as the bytes that they came as; nothing here looks into them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from rekindle.controller.core import Core
from rekindle.controller.events import BlobsReleased, CallOver, InputsCompleted, RoomFreed
from rekindle.controller.queue.call_times import CallTimes
from rekindle.controller.queue.table import InputTable
from rekindle.controller.settings import MIB
from rekindle.controller.state import Call, DetachedInput, Function, ResultBatch
from rekindle.controller.storage.letter_store import LetterStore
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.controller.storage.records import DUPLICATE, Completion, InputProgress
from rekindle.controller.storage.redis_link import RefusedError
from rekindle.exception import InternalFailure, ServiceError
from rekindle.guarded_loops import Retries
from rekindle.wire import rekindle_pb2 as pb

log = logging.getLogger(__name__)

#: What one batch takes at most; a single larger result travels alone.
BATCH_INPUTS, BATCH_BYTES = 512, 4 * MIB
#: Results that wait in memory for one reader; one that is slower reads from the store.
_WATCHER_BYTES = 8 * MIB
_SERVICE_ERROR = "rekindle.exception.ServiceError"


@dataclass(eq=False)
class Completer:
    """Stores batches of results."""

    _core: Core
    _store: QueueStore
    _letters: LetterStore
    _table: InputTable
    _times: CallTimes

    def store(self, batch: ResultBatch) -> None:
        """Store a batch in the background."""
        self._core.tasks.spawn(self.stored(batch), "store results")

    async def stored(self, batch: ResultBatch) -> None:
        """Store a batch; its inputs leave memory, and who waits gets the results.

        A result that Redis refuses is replaced by an error that says so.
        """
        error = await self._tried(batch)
        if error is None:
            return
        if batch.count == 1:
            await self._has_stored(batch, await self._complete_refused(batch, error))
            return
        tried = [(one, await self._tried(one)) for one in self._table.apart(batch)]
        refused = [(one, error) for one, error in tried if error is not None]
        # Those that may wait for a repair come last: they hold up none of the others.
        for one, error in sorted(refused, key=lambda it: _may_wait(*it)):
            await self._has_stored(one, await self._complete_refused(one, error))
        self._publish_end(batch)  # now: arguments of one that waits are needed if it runs again

    async def _tried(self, batch: ResultBatch) -> RefusedError | None:
        """Store a batch, unless Redis refuses it; why it does."""
        try:
            got = await self._complete(batch)
        except RefusedError as error:
            return error
        await self._has_stored(batch, got)
        return None

    async def _complete(self, batch: ResultBatch) -> Completion:
        call = batch.call
        if batch.letters:
            await self._letters.note(call.function.function_id)
        return await self._store.complete(
            call.function.function_id,
            call.call_id,
            [(entry.entry, pairs) for entry, pairs in batch.groups.items()],
            ordered=call.kind != "invoke",
            ttl_s=self.ttl(call),
            unread_ttl_s=self._core.settings.invoke_result_ttl_s,
            kept=sorted(batch.kept),
            letters=batch.letters,
            most_letters=self._core.settings.dead_letters,
        )

    async def _complete_refused(self, batch: ResultBatch, error: RefusedError) -> Completion:
        """End the input of a batch of one, whose result is refused."""
        call = batch.call
        retries = Retries(log, "a result cannot be stored", "a result is stored at last")
        while True:
            ((entry, [(index, raw)]),) = batch.groups.items()
            about = {"call": call.call_id, "index": index}
            wait_s = retries.failed(error, **about)
            if not _may_wait(batch, error):
                refusal = pb.Result(
                    call_id=call.call_id,
                    index=index,
                    status=pb.INTERNAL,
                    error_type=_SERVICE_ERROR,
                    message=f"the input ran, but its result could not be stored: {error}",
                    function_id=call.function.function_id,
                    submitted_ns=call.submitted_ns,
                ).SerializeToString()
                letters, batch.letters = batch.letters, {}
                batch.groups[entry] = [(index, refusal)]
                try:
                    return await self._complete(batch)
                except RefusedError as again:  # it is not about the result
                    error = again
                batch.letters, batch.groups[entry] = letters, [(index, raw)]
            self._tell_refused(call, index, error)
            await asyncio.sleep(wait_s)
            try:
                got = await self._complete(batch)
            except RefusedError as again:
                error = again
            else:
                retries.worked(**about)
                return got

    def _tell_refused(self, call: Call, index: int, error: RefusedError) -> None:
        """Who waits is told; who reads results, only where it is not for now."""
        for waiter in self._core.state.waiters.get((call.call_id, index), ()):
            if not waiter.done():
                waiter.set_exception(ServiceError(str(error)))
        if error.is_of_damage:
            for watcher in call.watchers:
                watcher.error = InternalFailure(
                    f"results of the call {call.call_id} cannot be stored ({error}): what Redis "
                    f"has kept of it or of its function's queue is damaged; start from a backup of "
                    f"before (docs/operating.md)"
                )
            call.wake_watchers()

    async def _has_stored(self, batch: ResultBatch, got: Completion) -> None:
        call = batch.call
        function = call.function
        function.counted(got.undone)
        call.counted(got.done, got.total, got.batches)
        self._table.finish(batch)
        self._publish_end(batch)
        await self._hand_over(batch, got)
        for agent, indexes in batch.acks:
            agent.acknowledge(call.call_id, indexes)
        self._core.publish(RoomFreed(function))
        if call.kind != "invoke":
            if got.over:
                self._core.publish(CallOver(call.call_id, got.letters))
            elif call.done == call.accepted:
                self._times.over(call.call_id)
            elif not call.undone:  # some wait on the stream, or a reply was lost that said "over"
                self._times.unsure(function.function_id, call.call_id)
        self.reap(call)

    def _publish_end(self, batch: ResultBatch) -> None:
        self._core.publish(InputsCompleted(batch.call, batch.statuses))
        if batch.blobs:
            self._core.publish(BlobsReleased(batch.blobs))

    async def keep_progress(self, items: list[DetachedInput], due_ms: int = 0) -> None:
        """Have Redis know of the deliveries of inputs of one call, and when the next is due."""
        call = items[0].call
        kept = {}
        for item in items:
            item.kept = True
            kept[item.index] = InputProgress(item.lost, item.retries, item.ambiguous, due_ms)
        await self._store.keep_progress(call.function.function_id, call.call_id, kept)

    def ttl(self, call: Call) -> int:
        """How long results of a call are kept, in seconds."""
        settings = self._core.settings
        return settings.invoke_result_ttl_s if call.kind == "invoke" else settings.result_ttl_s

    async def _hand_over(self, batch: ResultBatch, got: Completion) -> None:
        call = batch.call
        if call.kind == "invoke":
            for pairs in batch.groups.values():
                for index, result in pairs:
                    await self._answer(call, index, result, got.others.get(index))
        elif got.batch and call.watchers:
            fresh = [
                pair
                for pairs in batch.groups.values()
                for pair in pairs
                if not got.others or pair[0] not in got.others
            ]
            for watcher in call.watchers:
                if watcher.size < _WATCHER_BYTES:
                    watcher.live[got.batch] = fresh
                    watcher.size += batch.size
        call.wake_watchers()

    async def _answer(self, call: Call, index: int, result: bytes, outcome: int | None) -> None:
        key = (call.call_id, index)
        if key not in self._core.state.waiters:
            return
        if outcome == DUPLICATE:
            function_id = call.function.function_id
            result = await self._store.result(function_id, *key) or result
        for waiter in self._core.state.waiters.get(key, ()):
            if not waiter.done():
                waiter.set_result(result)

    def reap(self, call: Call) -> None:
        """Drop a call from memory when nothing here needs it; Redis has it."""
        if not call.undone and not call.held and not call.watchers:
            self._core.state.calls.pop(call.call_id, None)

    async def look_up(self, function: Function, call_id: str, indexes: list[int]) -> dict[int, int]:
        """What is known of inputs that are not in memory: DUPLICATE, UNKNOWN or UNDONE of each."""
        got = await self._store.complete(
            function.function_id,
            call_id,
            [("", [(index, b"") for index in indexes])],
            ordered=True,
            ttl_s=self._core.settings.result_ttl_s,
            unread_ttl_s=self._core.settings.invoke_result_ttl_s,
        )
        return got.others


def _may_wait(batch: ResultBatch, error: RefusedError) -> bool:
    """Whether a refused result has no other end than that what is damaged is put back."""
    return error.is_of_damage and not batch.letters
