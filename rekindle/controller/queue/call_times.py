"""From when on the time of submitted calls counts: where a call belongs is forgotten after it.

That is noted without a time before the first inputs are accepted (``CallStore.index_call``), and
again with every request of the call, so whoever learns that nothing of a call is undone says so
here: who stores its last result, and each request, which may have been refused or the empty last
one. At its start a controller looks for those whose time nobody counts, as the one before it was
killed. Knows nothing of results.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rekindle.controller.core import Core
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.records import CallIndex
from rekindle.exception import ServiceError
from rekindle.guarded_loops import Retries
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Calls that end within this have their time counted together.
_TOGETHER_S = 0.5
#: What Redis refused to count is counted again after this, and then later.
_AGAIN_S = 5.0


@dataclass(eq=False)
class CallTimes:
    """Counts the time of calls of which nothing is undone."""

    _core: Core
    _calls: CallStore
    #: Calls that had nothing undone when Redis last spoke of them.
    _over: set[str] = field(default_factory=set)
    #: Calls of which Redis is asked whether it is so, with their functions' ids.
    _unsure: dict[str, str] = field(default_factory=dict)
    #: How many requests of a call are on their way.
    _requests: Counter[str] = field(default_factory=Counter)
    #: Calls that were noted (again) while times were being counted.
    _noted: set[str] = field(default_factory=set)
    _counting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _is_due: bool = False
    _retries: Retries = field(
        default_factory=lambda: Retries(
            log, "calls' time is not counted yet", "calls' time is counted again", first_s=_AGAIN_S
        )
    )

    @contextmanager
    def request(self, function_id: str, call_id: str) -> Iterator[None]:
        """A request of a call: within it, it is noted where the call belongs."""
        self._requests[call_id] += 1
        if self._counting.locked():
            self._noted.add(call_id)
        try:
            yield
        finally:
            self._requests[call_id] -= 1
            if not self._requests[call_id]:
                del self._requests[call_id]
            if not self._has_undone(call_id):  # here; it may have on the stream
                self.unsure(function_id, call_id)

    def unsure(self, function_id: str, call_id: str) -> None:
        """A call may have no undone inputs; Redis is asked."""
        self._unsure[call_id] = function_id
        self._soon()

    def over(self, call_id: str) -> None:
        """A call has no undone inputs."""
        self._over.add(call_id)
        self._soon()

    def _soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._core.tasks.spawn(self._count_soon(), "count calls' time")

    async def _count_soon(self) -> None:
        await asyncio.sleep(_TOGETHER_S)
        while True:
            try:
                await self.count()
                self._retries.worked()
                return
            except ServiceError as error:
                wait_s = self._retries.failed(error)
            if self._is_due:
                return  # what has come meanwhile has all of it counted again
            self._is_due = True
            await asyncio.sleep(wait_s)

    async def count(self) -> None:
        """Have the time of all calls count that are over by now. Raises ServiceError."""
        async with self._counting:
            self._is_due = False
            over, self._over = self._over, set()
            unsure, self._unsure = self._unsure, {}
            try:
                await self._count(over - unsure.keys(), unsure)
            except ServiceError:
                self._over |= over
                self._unsure = {**unsure, **self._unsure}
                raise

    async def _count(self, over: Iterable[str], unsure: Mapping[str, str]) -> None:
        # Those with a request on its way are looked at when that has ended.
        noted = self._noted = set(self._requests)
        ended = {one for one in over if one not in noted and not self._has_undone(one)}
        asked = {one: function_id for one, function_id in unsure.items() if one not in noted}
        found = await self._calls.have_undone(asked)
        ended.update(one for one, undone in found.items() if undone is False)
        refused = [one for one, undone in found.items() if undone is None]
        settings = self._core.settings
        await self._calls.expire_indexes(sorted(ended), settings.result_ttl_s)
        await self._calls.expire_unlisted(refused, settings.invoke_result_ttl_s)
        await self._calls.keep_indexes(sorted(noted.intersection([*ended, *refused])))

    def _has_undone(self, call_id: str) -> bool:
        call = self._core.state.calls.get(call_id)
        return call is not None and bool(call.undone)

    async def look(self) -> None:
        """Find calls whose time nobody counts, as the controller before this one was killed."""
        try:
            async for page in self._calls.indexes_without_time():
                async with self._counting:
                    await self._count((), self._ours(page))
                    await self._count_others(page)
        except ServiceError as error:
            log.warning("calls without a time were not looked for", extra=kv(reason=error))

    def _ours(self, page: Mapping[str, CallIndex]) -> dict[str, str]:
        known = self._core.state.functions
        return {
            call_id: at.function_id
            for call_id, at in page.items()
            if at.function_id in known and not self._has_undone(call_id)
        }

    async def _count_others(self, page: Mapping[str, CallIndex]) -> None:
        """Calls of functions that are gone, or of another instance on the same Redis."""
        known = self._core.state.functions
        others = {c: at.function_id for c, at in page.items() if at.function_id not in known}
        found = await self._calls.have_undone(others)
        over = [one for one, undone in found.items() if not undone]
        await self._calls.expire_unlisted(over, self._core.settings.result_ttl_s)
