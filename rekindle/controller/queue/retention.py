"""What is kept of calls that are done, and what goes: at once where no one can ask for it again.

The caller of ``.remote()`` and whoever iterates over ``.map()`` are the only readers of their
results, and say what they have taken. It counts only then: a reader whose connection broke asks
again, and finds all that it has not. When an ephemeral app ends, what its only readers did not take
goes with it; spawned calls, whose handles anybody may hold, stay for their time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rekindle.controller import names
from rekindle.controller.core import Core
from rekindle.controller.queue.blob_keeper import BlobKeeper
from rekindle.controller.state import App, Function
from rekindle.controller.storage.store import QueueStore
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.blobs import size_of
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Streams of an app that closes get so long to bring what they have to its readers.
_READ_S = 2.0
_LOOK_S = 0.02
_PAGE = 256
#: Kept calls that are looked at one by one for the status; of more only the number is known.
_MOST_SHOWN = 1000
#: Of a call that is gone: its dead letters may need its blobs (lua/taken.lua).
_LETTERED = 2
#: Indexes that one message may name: more than a client takes at a time.
_MOST_INDEXES = 1 << 20


@dataclass(eq=False)
class Retention:
    """Lets go of calls."""

    _core: Core
    _store: QueueStore
    _blobs: BlobKeeper

    async def taken(self, request: pb.TakenRequest) -> None:
        """The only reader of some calls has these results.

        Raises InvalidError for what makes no sense; calls that others may read stay as they are.
        """
        for one in request.calls:
            names.check_call_id(one.call_id)
            for key in one.blobs:
                size_of(key)  # raises for what is none
                if key.partition("/")[0] != one.call_id:
                    raise InvalidError(f"the blob {key!r} is not of the call {one.call_id!r}")
        for one in request.calls:
            await self._taken(one)

    async def _taken(self, one: pb.TakenCall) -> None:
        state = await self._mark_taken(one.function_id, one)
        if state < 0:  # its reader may know the function by the id of a former version
            at = await self._store.index_of(one.call_id)
            if at is None or at.function_id == one.function_id:
                return
            state = await self._mark_taken(at.function_id, one)
            if state < 0:
                return
        self._blobs.drop(one.blobs)
        if not one.whole:
            return
        call = self._core.state.calls.get(one.call_id)
        if call is not None:
            call.unread = True
        if state == _LETTERED:
            await self._store.expire_indexes([one.call_id], self._core.settings.result_ttl_s)
            return
        await self._store.drop_indexes([one.call_id])
        if not one.blobs:  # of a map: they are not named
            self._blobs.drop_calls([one.call_id])

    async def _mark_taken(self, function_id: str, one: pb.TakenCall) -> int:
        return await self._store.taken(
            function_id,
            one.call_id,
            list(_indexes(one)),
            whole=one.whole,
            ttl_s=self._core.settings.invoke_result_ttl_s,
        )

    async def forget(self, app: App) -> None:
        """An ephemeral app has ended: what no one can ask for again goes."""
        if not app.ephemeral:
            return
        await self._until_read(app)
        forgotten = 0
        for function_id in app.functions:
            calls = await self._store.once(function_id)
            for start in range(0, len(calls), _PAGE):
                page = calls[start : start + _PAGE]
                lettered = await self._store.drop(function_id, page)
                gone = [one for one in page if one not in lettered]
                await self._store.drop_indexes(gone)
                self._blobs.drop_calls(gone)
                # The blobs of a letter live as long as the index of their call.
                ttl_s = self._core.settings.result_ttl_s
                await self._store.expire_indexes(sorted(lettered), ttl_s)
            forgotten += len(calls)
        if forgotten:
            log.info("calls forgotten", extra=kv(app=app.app_id, calls=forgotten))

    async def _until_read(self, app: App) -> None:
        """Streams that are being read get to their end, where they get there soon."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _READ_S
        while loop.time() < end and any(
            call.watchers for call in self._core.state.calls.values() if call.function.app is app
        ):
            await asyncio.sleep(_LOOK_S)

    async def report(self, functions: Sequence[Function]) -> pb.KeptStatus:
        """Calls that are kept by function, those that are forgotten first in front.

        Seconds from now, as everything in a status. Raises ServiceError.
        """
        count, found = await self._store.kept(_MOST_SHOWN)
        now = time.time()
        groups: dict[tuple[str, str], list[float]] = {}
        for _, until, at in found:
            groups.setdefault((at.app, at.function), []).append(max(0.0, until - now))
        untaken = await self._store.how_many_once([one.function_id for one in functions])
        return pb.KeptStatus(
            calls=count,
            seen=len(found),
            of=[
                pb.KeptCalls(
                    app=app,
                    function=function,
                    calls=len(left),
                    first_gone_in_s=round(min(left), 1),
                    last_gone_in_s=round(max(left), 1),
                )
                for (app, function), left in groups.items()
            ],
            not_taken=[
                pb.KeptCalls(app=one.app.name, function=one.name, calls=calls)
                for one, calls in zip(functions, untaken, strict=True)
                if calls
            ],
            spawned_kept_s=self._core.settings.result_ttl_s,
            waited_for_kept_s=self._core.settings.invoke_result_ttl_s,
        )


def _indexes(one: pb.TakenCall) -> Iterable[int]:
    if len(one.first) != len(one.last):
        raise InvalidError("the runs of taken results have no ends")
    runs = list(zip(one.first, one.last, strict=True))
    if any(first < 0 or last < first for first, last in runs):
        raise InvalidError("a run of taken results ends before it begins")
    if sum(last - first + 1 for first, last in runs) > _MOST_INDEXES:
        raise InvalidError(f"more than {_MOST_INDEXES:,} results are named at once")
    for first, last in runs:
        yield from range(first, last + 1)
