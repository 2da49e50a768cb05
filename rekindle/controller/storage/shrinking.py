"""Gives memory and disk of the embedded server back, once much of what it held is gone.

A server rewrites its append-only file when that has grown to twice what it was after the last
time; what shrinks is never looked at. Knows nothing of what is stored.
"""

from __future__ import annotations

import asyncio
import logging

from rekindle.controller.storage.redis_link import RedisLink
from rekindle.exception import ServiceError
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: A file below this is left alone.
LEAST_BYTES = 16 << 20
#: What a server takes that holds nothing, about.
_BARE_BYTES = 1 << 20
_EVERY_S = 60.0
#: Redis frees keys after it has answered the command that removes them.
_AFTER_S = 1.0


class Shrinking:
    """Looks now and then, and when asked to."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._wanted = asyncio.Event()

    def soon(self) -> None:
        """Something went."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_EVERY_S):
                    await self._wanted.wait()
                await asyncio.sleep(_AFTER_S)
            except TimeoutError:
                pass
            asked = self._wanted.is_set()
            self._wanted.clear()
            try:
                await self.look(purge=asked)
            except ServiceError as error:
                log.warning("redis was not made smaller", extra=kv(reason=error))

    async def look(self, *, purge: bool) -> None:
        """Have the file rewritten where it is worth it. Raises ServiceError."""
        if purge:
            await self._link.command("MEMORY", "PURGE")
        info = await self._link.command("INFO")
        file, memory = int(info.get("aof_current_size", 0)), int(info.get("used_memory", 0))
        busy = info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled")
        if not busy and worth_rewriting(file, int(info.get("aof_base_size", 0)), memory):
            log.info("append-only file is rewritten", extra=kv(bytes=file, memory_bytes=memory))
            await self._link.command("BGREWRITEAOF")


def worth_rewriting(file_bytes: int, base_bytes: int, memory_bytes: int) -> bool:
    """Whether most of a file is about what is gone. ``base_bytes``: what the last rewrite made.

    Data takes less in a rewritten file than in memory, so one that is larger than all memory is
    mostly history, or was made when there was more; unless the last rewrite could do no better.
    """
    data_bytes = memory_bytes - _BARE_BYTES
    return file_bytes > max(LEAST_BYTES, data_bytes) and (
        file_bytes > 1.5 * base_bytes or base_bytes > 4 * data_bytes
    )
