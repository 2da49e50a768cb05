"""Removes blobs that nothing needs any more. Puts and gets none, and blocks no loop.

The payload of an input goes when the input is done with. The blob of a result lives as long as its
call is known; the sweep finds those that are older, what a client that died left behind, and what
was not removed because a backup was just being made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rekindle.controller.core import Core
from rekindle.controller.storage import backup
from rekindle.controller.storage.call_store import CallStore
from rekindle.exception import Error
from rekindle.shown_url import without_password
from rekindle.wire.blobs import index_of, open_store
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_MOST_BETWEEN_S = 3600.0
_PAGE = 256


@dataclass(eq=False)
class BlobKeeper:
    """The blob store as the controller sees it. What is at its URL is this instance's alone."""

    _core: Core
    _calls: CallStore
    _url: str
    #: The instance directory.
    _directory: Path

    def drop(self, keys: Iterable[str]) -> None:
        """Remove blobs, in the background; the sweep finds what could not be removed."""
        found = list(keys)
        if found and self._url:
            self._core.tasks.spawn(asyncio.to_thread(self._delete, found), "remove blobs")

    def drop_calls(self, calls: Mapping[str, Sequence[int]]) -> None:
        """Remove all blobs of calls but those of these inputs, in the background."""
        if calls and self._url:
            found = {call_id: frozenset(kept) for call_id, kept in calls.items()}
            self._core.tasks.spawn(asyncio.to_thread(self._delete_calls, found), "remove blobs")

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        if not self._url:
            return
        age_s = min(self._core.settings.result_ttl_s, self._core.settings.invoke_result_ttl_s)
        while True:
            await asyncio.sleep(min(_MOST_BETWEEN_S, age_s / 2))
            try:
                removed = await self.sweep(age_s)
            except Error as error:
                url = without_password(self._url)
                log.warning("blobs were not swept", extra=kv(url=url, reason=error))
                continue
            if removed:
                log.info("blobs removed", extra=kv(blobs=removed))

    async def sweep(self, age_s: float) -> int:
        """Remove blobs of calls that are not known (any more); how many. Raises Error."""
        old = await asyncio.to_thread(lambda: list(open_store(self._url).older_than(age_s)))
        removed = 0
        for start in range(0, len(old), _PAGE):
            page = old[start : start + _PAGE]
            calls = {key.partition("/")[0] for key in page} - self._core.state.calls.keys()
            unknown = calls - await self._calls.known_calls(sorted(calls))
            gone = [key for key in page if key.partition("/")[0] in unknown]
            removed += await asyncio.to_thread(self._delete, gone)
        return removed

    def _delete_calls(self, calls: Mapping[str, frozenset[int]]) -> None:
        for call_id, kept in calls.items():
            try:
                found = list(open_store(self._url).of_call(call_id))
                self._delete([key for key in found if index_of(key) not in kept])
            except Error as error:
                log.warning("blobs were not found", extra=kv(call=call_id, reason=error))

    def _delete(self, keys: list[str]) -> int:
        """Remove them, unless a backup is being made; how many."""
        removed = 0
        try:
            with backup.removing(self._directory) as may:
                if not may:
                    log.info("blobs stay: a backup is made", extra=kv(blobs=len(keys)))
                    return 0
                for key in keys:
                    removed += self._delete_one(key)
        except OSError as error:
            log.warning("blobs were not removed", extra=kv(path=self._directory, reason=error))
        return removed

    def _delete_one(self, key: str) -> bool:
        try:
            open_store(self._url).delete(key)
        except Error as error:
            log.warning("a blob was not removed", extra=kv(blob=key, reason=error))
            return False
        return True
