"""What runners wrote to volumes with a store: sent every few seconds, and when a runner has ended.

Nothing is lost with a runner: the folder is the node's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rekindle.exception import Error
from rekindle.volumes.remote import Folder
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Between two looks at what runners wrote.
EVERY_S = 5.0


@dataclass(eq=False)
class VolumePushes:
    """The folders of a node that runners may be writing to."""

    _in_use: Counter[Folder] = field(default_factory=Counter)
    _released: set[Folder] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def use(self, folders: Sequence[Folder]) -> Callable[[], None]:
        """A runner has these; what is returned says that it is gone."""
        self._in_use.update(folders)
        if folders and self._task is None:
            self._task = asyncio.create_task(self._push_on())

        def release() -> None:
            self._in_use -= Counter(folders)
            self._released.update(folders)
            self._news.set()

        return release

    async def close(self) -> None:
        """Send what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._push({*self._in_use, *self._released})

    async def _push_on(self) -> None:
        while self._in_use or self._released:
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._news.wait()
            except TimeoutError:
                pass  # time to look
            self._news.clear()
            due = {*self._in_use, *self._released}
            self._released.clear()
            await self._push(due)
        self._task = None

    async def _push(self, folders: set[Folder]) -> None:
        for folder in folders:
            try:
                await asyncio.to_thread(folder.push)
            except (Error, OSError) as error:
                log.warning("volume not sent", extra=kv(volume=folder.label, reason=error))
