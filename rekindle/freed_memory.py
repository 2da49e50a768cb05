"""Gives back what a daemon has freed, once it has nothing to do.

The C library keeps what is freed for what comes next: after large values have gone through, that
may be hundreds of megabytes, which runners could have. To give it back at once would cost each
large value the time in which the kernel clears its pages. Knows nothing of who used it.
"""

from __future__ import annotations

import asyncio
import time

from rekindle.linux import memory

_EVERY_S = 1.0
#: A process that takes less of a core than this has nothing to do.
_IDLE_SHARE = 0.1
#: What is worth the while.
_LEAST_BYTES = 16 << 20
#: What was not given back the last time is in use, most likely: that is tried again so often.
_AGAIN_S = 60.0


async def give_back_forever() -> None:
    """For a daemon's event loop; until cancelled."""
    least = last = memory.resident_bytes()
    tried_at, used_s = time.monotonic(), time.process_time()
    while True:
        await asyncio.sleep(_EVERY_S)
        before_s, used_s = used_s, time.process_time()
        resident, now = memory.resident_bytes(), time.monotonic()
        least = min(least, resident)
        if used_s - before_s > _IDLE_SHARE * _EVERY_S or resident - least < _LEAST_BYTES:
            continue
        if resident - last >= _LEAST_BYTES or now - tried_at >= _AGAIN_S:
            # In a thread: it takes about as long as the kernel needs to take the pages.
            await asyncio.to_thread(memory.return_freed_memory)
            last, tried_at = memory.resident_bytes(), now
