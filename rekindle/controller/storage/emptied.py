"""Whether somebody has emptied Redis, or put an empty one in its place, while a controller runs.

What that has in memory is of queues and calls that are no more: who waits for those would wait for
ever. So it is to end, and the next one begins with what there is.
"""

from __future__ import annotations

import asyncio
import contextlib

from rekindle.controller.storage import keys
from rekindle.controller.storage.redis_link import FOREVER, RedisLink
from rekindle.exception import InternalFailure, ServiceError


class EmptiedError(InternalFailure):
    """What a controller has written when it started is gone."""


async def check(link: RedisLink, instance: str, patience_s: float) -> None:
    """Raise EmptiedError; ServiceError."""
    if not await link.command("EXISTS", keys.protocol(instance), patience_s=patience_s):
        raise EmptiedError(
            f"the Redis at {link.shown_url} was emptied while its instance was up (FLUSHALL, or a "
            f"restart without its files): queues, results and what was deployed are gone. Run or "
            f"deploy apps again, or start from a backup of before (docs/operating.md)"
        )


async def watch(link: RedisLink, instance: str, every_s: float) -> None:
    """Look again and again. Raises EmptiedError."""
    while True:
        await asyncio.sleep(every_s)
        with contextlib.suppress(ServiceError):  # refused, or about to end: nothing is known
            await check(link, instance, FOREVER)
