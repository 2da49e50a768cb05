"""Gives back what a daemon has freed, once it has nothing to do.

The C library keeps what is freed for what comes next: after large values have gone through, that
may be hundreds of megabytes, which runners could have. To give it back at once would cost each
large value the time in which the kernel clears its pages. Knows nothing of who used it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from rekindle.linux import memory
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_EVERY_S = 1.0
#: A process that takes less of a core than this has nothing to do.
_IDLE_SHARE = 0.1
#: What is worth the while.
_LEAST_BYTES = 16 << 20
#: What was not given back the last time was in use: that is tried again, later each time.
_AGAIN_S, _SELDOM_S = 2.0, 60.0


@dataclass
class _Use:
    """What this process has had of memory and processor."""

    least: int | None = None
    #: What it had left after it was given back the last time; None: that is to be seen.
    left: int | None = None
    tried_at: float = field(default_factory=time.monotonic)
    again_s: float = _AGAIN_S
    used_s: float = field(default_factory=time.process_time)

    def has_freed_memory(self) -> bool:
        """Whether it has nothing to do and may have freed what is worth it. Raises OSError."""
        before_s, self.used_s = self.used_s, time.process_time()
        resident = memory.resident_bytes()
        self.least = resident if self.least is None else min(self.least, resident)
        self.left = resident if self.left is None else self.left
        if self.used_s - before_s > _IDLE_SHARE * _EVERY_S or resident - self.least < _LEAST_BYTES:
            return False
        is_more = resident - self.left >= _LEAST_BYTES
        if not is_more and time.monotonic() - self.tried_at < self.again_s:
            return False
        self.again_s = _AGAIN_S if is_more else min(2 * self.again_s, _SELDOM_S)
        self.left, self.tried_at = None, time.monotonic()
        return True


async def give_back_forever() -> None:
    """For a daemon's event loop; until cancelled."""
    use, failed = _Use(), False
    while True:
        try:
            if use.has_freed_memory():
                # In a thread: it takes about as long as the kernel needs to take the pages.
                await asyncio.to_thread(memory.return_freed_memory)
            failed = False
        except (OSError, RuntimeError) as error:  # there is no descriptor or no thread to be had
            if not failed:
                log.warning("freed memory kept for now", extra=kv(reason=error))
            failed = True
        await asyncio.sleep(_EVERY_S)
