"""Which starts are under way on a node, for work that is not to be in their way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class StartActivity:
    """Counts them."""

    #: Set when a start has ended, well or not, and when a template came to be.
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: int = 0
    _last_end: float = 0.0  # monotonic seconds

    @contextmanager
    def start(self) -> Iterator[None]:
        """Within, one more is under way."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._last_end = time.monotonic()
            self.changed.set()

    async def pause(self, length_s: float, latest_s: float) -> None:
        """Wait until nothing was started for ``length_s``, but no longer than ``latest_s``."""
        latest = time.monotonic() + latest_s
        while (now := time.monotonic()) < latest:
            left_s = length_s if self._under_way else self._last_end + length_s - now
            if left_s <= 0:
                return
            await asyncio.sleep(left_s)
