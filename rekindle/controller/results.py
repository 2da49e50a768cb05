"""The stream of a call's results: what is stored first, then each as it is completed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from rekindle.controller.intake import Intake
from rekindle.controller.state import Call, ResultWatcher, State
from rekindle.controller.store import QueueStore
from rekindle.exception import NotFoundError
from rekindle.wire import rekindle_pb2 as pb

_PAGE = 16


class ResultStreams:
    """Delivers the results of submitted calls."""

    def __init__(self, state: State, store: QueueStore, intake: Intake) -> None:
        self._state = state
        self._store = store
        self._intake = intake

    async def stream(
        self, call_id: str, from_index: int, have: Iterable[int]
    ) -> AsyncIterator[pb.Result]:
        """Each result from ``from_index`` on once, except those in ``have``.

        Ends when the last input was submitted and all results were delivered.
        Raises NotFoundError for a call that is not known, or whose results are gone.
        """
        function_id = await self._function_of(call_id)
        sent = set(have)
        watcher = ResultWatcher()
        call = await self._watch(call_id, function_id, watcher)
        try:
            async for result in self._stored(function_id, call_id, from_index, sent):
                yield result
            while True:
                if call is None:  # its app is closed: no result can come any more
                    return
                watcher.wake.clear()
                complete = call.ended
                while watcher.fresh:
                    index, live = watcher.fresh.popleft()
                    if index < from_index or index in sent:
                        continue
                    found = live or await self._fetch(function_id, call_id, index)
                    if found is not None:
                        sent.add(index)
                        yield found
                        complete = call.ended
                if complete:
                    return
                await watcher.wake.wait()
        finally:
            if call is not None:
                call.watchers.remove(watcher)
                self._intake.reap(call)

    async def _function_of(self, call_id: str) -> str:
        call = self._state.calls.get(call_id)
        if call is not None:
            return call.function.function_id
        function_id = await self._store.function_of(call_id)
        if function_id is None:
            raise NotFoundError(
                f"no call {call_id!r}: it was not submitted here, or its results were kept for "
                "their time (REKINDLE_RESULT_TTL_S) and are gone"
            )
        return function_id

    async def _watch(self, call_id: str, function_id: str, watcher: ResultWatcher) -> Call | None:
        """Register the watcher before anything stored is read, so that no result falls between."""
        call = self._state.calls.get(call_id)
        if call is None:
            function = self._state.functions.get(function_id)
            if function is None:
                return None
            metas = await self._store.call_metas(function_id, [call_id])
            meta = metas[call_id]
            call = self._state.calls.get(call_id)
            if call is None:
                if meta is None:
                    return None
                call = self._intake.call(call_id, function, meta)
            if meta is not None:
                call.counted(meta.done, meta.total)
        call.watchers.append(watcher)
        if not call.complete:
            # Counts may have moved between their reading and this registration.
            metas = await self._store.call_metas(function_id, [call_id])
            meta = metas[call_id]
            if meta is not None:
                call.counted(meta.done, meta.total)
        return call

    async def _stored(
        self, function_id: str, call_id: str, from_index: int, sent: set[int]
    ) -> AsyncIterator[pb.Result]:
        indexes = await self._store.result_indexes(function_id, call_id)
        wanted = [i for i in indexes if i >= from_index and i not in sent]
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]
            replies = await self._store.results(function_id, call_id, page)
            for index, raw in zip(page, replies, strict=True):
                if raw is not None:
                    sent.add(index)
                    yield pb.Result.FromString(raw)

    async def _fetch(self, function_id: str, call_id: str, index: int) -> pb.Result | None:
        raw = await self._store.result(function_id, call_id, index)
        return pb.Result.FromString(raw) if raw is not None else None
