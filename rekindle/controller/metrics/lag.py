"""How late the controller's event loop is: the first thing to look at when calls get slow."""

from __future__ import annotations

import asyncio

from rekindle.controller.metrics.histogram import Histogram

_EVERY_S = 0.25


class LoopLag:
    """Measures while ``run`` does."""

    def __init__(self) -> None:
        self.histogram = Histogram()
        self.last = 0.0

    async def run(self) -> None:
        """Ask to be woken at a time, and see how much later it is; until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            self.last = max(0.0, loop.time() - due)
            self.histogram.add(self.last)
