"""The stream of a call's results: what is stored first, then each as it is completed.

Results are listed in the order of their completion, in numbered batches. A stream remembers the
number up to which it was read, so one that is slow costs no memory here: it reads from the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rekindle.controller import names
from rekindle.controller.core import Core
from rekindle.controller.queue.completion import BATCH_BYTES, BATCH_INPUTS, Completer
from rekindle.controller.queue.result_watcher import ResultWatcher
from rekindle.controller.queue.stream_loader import StreamLoader
from rekindle.controller.state import AssignedBatch, Call, DetachedInput
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.controller.storage.records import CallIndex, CallMeta
from rekindle.wire import rekindle_pb2 as pb

_BATCHES = 64  # of the listing, read at once


@dataclass(eq=False)
class ResultStreams:
    """Delivers the results of submitted calls, and what is known of a call."""

    _core: Core
    _store: QueueStore
    _calls: CallStore
    _completer: Completer
    _loader: StreamLoader

    async def info(self, call_id: str) -> pb.CallInfo:
        """The call's inputs, how many are done, and how.

        Raises NotFoundError for a call that is not known, OutputExpiredError for an old one.
        """
        at = await self._index_of(call_id)
        meta = await self._calls.call_meta(at.function_id, call_id)
        if meta is None:
            raise names.unknown_call(call_id, self._core.settings.result_ttl_s)
        call = self._core.state.calls.get(call_id)
        function = self._core.state.functions.get(at.function_id)
        return pb.CallInfo(
            call_id=call_id,
            function_id=at.function_id,
            function=at.function,
            app=at.app,
            inputs=meta.accepted,
            submitted=meta.total >= 0,
            done=meta.done,
            running=_running(call) if call is not None else 0,
            submitted_ns=meta.submitted_ns,
            cancelled=meta.cancelled > 0,
            module=function.spec.module if function is not None else "",
        )

    async def stream(self, request: pb.ResultsRequest) -> AsyncIterator[list[bytes]]:
        """Each result that is asked for once, serialized, some at a time.

        Ends when the last input was submitted and all results were delivered.
        Raises NotFoundError for a call that is not known, OutputExpiredError for an old one,
        InternalFailure where no more can come, as something of the call is damaged.
        """
        function_id = (await self._index_of(request.call_id)).function_id
        first, end = request.from_index, request.end_index or 1 << 62
        have = frozenset(request.have)

        def wanted(pairs: list[tuple[int, bytes]]) -> list[bytes]:
            return [raw for index, raw in pairs if first <= index < end and index not in have]

        watcher = ResultWatcher()
        sent = 0  # the number of the last batch that was sent
        async with self._watched(request.call_id, function_id, watcher) as (call, meta):
            while True:
                watcher.wake.clear()
                last = call.batches if call is not None else meta.batches if meta else 0
                ended = call is None or call.ended or request.stored
                while sent < last or sent + 1 in watcher.live:
                    live = watcher.live.pop(sent + 1, None)
                    if live is not None:
                        watcher.size -= sum(len(result) for _, result in live)
                        sent += 1
                        yield wanted(live)
                        continue
                    until = min([last, sent + _BATCHES, *(n - 1 for n in watcher.live if n > sent)])
                    async for page in self._stored(function_id, request.call_id, sent + 1, until):
                        yield wanted(page)
                    sent = until
                if ended or call is None:
                    return
                if watcher.error is not None:
                    raise watcher.error
                if not (call.undone or call.function.backlog):
                    await self._loader.check(call.function, call.call_id)
                await watcher.wake.wait()

    async def _index_of(self, call_id: str) -> CallIndex:
        """Where a call belongs. Raises NotFoundError or OutputExpiredError."""
        call = self._core.state.calls.get(call_id)
        if call is not None:
            return call.function.index
        at = await self._calls.index_of(call_id)
        if at is None:
            raise names.unknown_call(call_id, self._core.settings.result_ttl_s)
        return at

    @asynccontextmanager
    async def _watched(
        self, call_id: str, function_id: str, watcher: ResultWatcher
    ) -> AsyncIterator[tuple[Call | None, CallMeta | None]]:
        """Register the watcher, then read how far the call is, so that no batch falls between.

        It is registered no longer than this lasts, also where the reader goes while Redis is asked.
        """
        call, meta = self._core.state.calls.get(call_id), None
        if call is None:
            function = self._core.state.functions.get(function_id)
            meta = await self._calls.call_meta(function_id, call_id)
            if meta is None or function is None or function.app.closed.is_set():
                yield None, meta
                return
            call = self._loader.call(call_id, function, meta)
        call.watchers.append(watcher)
        try:
            # It may have gone on between the reading and this registration.
            meta = await self._calls.call_meta(function_id, call_id) or meta
            if meta is not None:
                call.counted(meta.done, meta.total, meta.batches)
            yield call, meta
        finally:
            call.watchers.remove(watcher)
            self._completer.reap(call)

    async def _stored(
        self, function_id: str, call_id: str, first: int, last: int
    ) -> AsyncIterator[list[tuple[int, bytes]]]:
        """The results of some batches, in pages of bounded size."""
        page: list[int] = []
        size = 0
        for more, indexes in await self._store.batches(function_id, call_id, first, last):
            if page and (size + more > BATCH_BYTES or len(page) + len(indexes) > BATCH_INPUTS):
                yield await self._read(function_id, call_id, page)
                page, size = [], 0
            page += indexes
            size += more
        if page:
            yield await self._read(function_id, call_id, page)

    async def _read(
        self, function_id: str, call_id: str, indexes: list[int]
    ) -> list[tuple[int, bytes]]:
        found = await self._store.results(function_id, call_id, indexes)
        return [(i, raw) for i, raw in zip(indexes, found, strict=True) if raw is not None]


def _running(call: Call) -> int:
    """How many of a call's inputs are at agents."""
    return sum(
        isinstance(holder, AssignedBatch | DetachedInput) and holder.agent is not None
        for holder in call.undone.values()
    )
