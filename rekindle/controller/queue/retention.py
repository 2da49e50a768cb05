"""What is kept of calls that are done, and what goes: at once where no one can ask for it again.

The caller of ``.remote()`` and whoever iterates over ``.map()`` are the only readers of their
results, and say what they have taken. It counts only then: a reader whose connection broke asks
again, and finds all that it has not. When an ephemeral app ends, what its only readers did not take
goes with it; spawned calls, whose handles anybody may hold, stay for their time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rekindle.controller import names
from rekindle.controller.core import Core
from rekindle.controller.queue.blob_keeper import BlobKeeper
from rekindle.controller.state import App, Function
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.records import (
    ENDED,
    GOES_ON,
    NOT_KNOWN,
    OTHERS,
    SOME,
    WHOLE,
    Taken,
    Taking,
)
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.blobs import size_of
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Streams of an app that closes get so long to bring what they have to its readers.
_READ_S = 2.0
_LOOK_S = 0.02
_PAGE = 256
#: Functions whose lists are pruned at once.
_PRUNED = 64
#: Kept calls that are looked at one by one for the status; of more only the number is known.
_MOST_SHOWN = 1000
#: Indexes that one message may name: more than a client takes at a time.
_MOST_INDEXES = 1 << 20


@dataclass(eq=False)
class Retention:
    """Lets go of calls."""

    _core: Core
    _calls: CallStore
    _blobs: BlobKeeper
    #: How far ``prune`` has come: by function, and of those that are done.
    _pruned: dict[str, str] = field(default_factory=dict)
    _pruned_kept: int = 0

    async def taken(self, request: pb.TakenRequest) -> None:
        """The only reader of some calls has these results.

        Raises InvalidError for what makes no sense; calls that others may read stay as they are.
        """
        given = [(one, _taking(one)) for one in request.calls]
        for start in range(0, len(given), _PAGE):
            await self._taken(given[start : start + _PAGE])

    async def _taken(self, given: Sequence[tuple[pb.TakenCall, Taking]]) -> None:
        takings = [taking for _, taking in given]
        became = await self._became(takings)
        over: dict[str, list[int]] = {}
        for (one, _), now in zip(given, became, strict=True):
            if now.state == OTHERS:
                continue
            self._blobs.drop(one.blobs)
            if one.whole and now.state != GOES_ON:
                over[one.call_id] = now.letters
        named = {one.call_id for one, _ in given if one.blobs}  # of a map, blobs are not
        await self._let_go(over, named)

    async def _became(self, takings: Sequence[Taking]) -> list[Taken]:
        """Mark as taken; what has become of each call."""
        became = await self._mark_taken(takings)
        lost = [i for i, now in enumerate(became) if now.state == NOT_KNOWN]
        found = await self._calls.indexes_of([takings[i].call_id for i in lost])
        # Its reader may know the function by the id of a former version.
        moved = {
            i: dataclasses.replace(takings[i], function_id=at.function_id)
            for i, at in zip(lost, found, strict=True)
            if at is not None and at.function_id != takings[i].function_id
        }
        again = await self._mark_taken(list(moved.values()))
        for i, now in zip(moved, again, strict=True):
            became[i] = now
        return became

    async def _mark_taken(self, takings: Sequence[Taking], *, patient: bool = False) -> list[Taken]:
        settings = self._core.settings
        return await self._calls.taken(
            takings,
            ttl_s=settings.invoke_result_ttl_s,
            letters_ttl_s=settings.result_ttl_s,
            patient=patient,
        )

    def over(self, call_id: str, letters: list[int]) -> None:
        """Nothing of a call is needed any more but what inputs that left letters need."""
        self._core.tasks.spawn(self._let_go({call_id: letters}), "forget calls")

    async def _let_go(
        self, calls: Mapping[str, list[int]], named: Collection[str] = frozenset()
    ) -> None:
        """Forget where calls belonged, and remove their blobs; with the inputs that left letters.

        ``named``: calls of which all blobs are dropped by name.
        """
        # The blobs of a letter live as long as the index of their call.
        lettered = [call_id for call_id, letters in calls.items() if letters]
        await self._calls.expire_indexes(lettered, self._core.settings.result_ttl_s)
        await self._calls.drop_indexes([one for one, letters in calls.items() if not letters])
        self._blobs.drop_calls({one: kept for one, kept in calls.items() if one not in named})

    async def forget(self, app: App) -> None:
        """An ephemeral app has ended: what no one can ask for again goes."""
        if not app.ephemeral:
            return
        await self._until_read(app)
        forgotten = 0
        for function_id in app.functions:
            calls = await self._calls.once(function_id)
            for start in range(0, len(calls), _PAGE):
                page = calls[start : start + _PAGE]
                takings = [Taking(function_id, one, ENDED) for one in page]
                became = await self._mark_taken(takings, patient=True)
                gone = zip(page, became, strict=True)
                await self._let_go({one: now.letters for one, now in gone if now.state != OTHERS})
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

    async def prune(self) -> None:
        """Take calls that are gone, as their time was over, off the lists. Some at a time."""
        functions, pruned = list(self._core.state.functions), self._pruned
        self._pruned = {}
        for start in range(0, len(functions), _PRUNED):
            page = {one: pruned.get(one, "0") for one in functions[start : start + _PRUNED]}
            self._pruned |= await self._calls.prune_once(page)
        self._pruned_kept = await self._calls.prune_kept(self._pruned_kept)

    async def report(self, functions: Sequence[Function]) -> pb.KeptStatus:
        """Calls that are kept by function, those that are forgotten first in front.

        Seconds from now, as everything in a status. Raises ServiceError.
        """
        count, found = await self._calls.kept(_MOST_SHOWN)
        now = time.time()
        groups: dict[tuple[str, str], list[float]] = {}
        for _, until, at in found:
            groups.setdefault((at.app, at.function), []).append(max(0.0, until - now))
        untaken = await self._calls.how_many_once([one.function_id for one in functions])
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


def _taking(one: pb.TakenCall) -> Taking:
    """What a reader says. Raises InvalidError for what makes no sense."""
    names.check_call_id(one.call_id)
    for key in one.blobs:
        size_of(key)  # raises for what is none
        if key.partition("/")[0] != one.call_id:
            raise InvalidError(f"the blob {key!r} is not of the call {one.call_id!r}")
    what = WHOLE if one.whole else SOME
    return Taking(one.function_id, one.call_id, what, list(_indexes(one)))


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
