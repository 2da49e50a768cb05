"""One scrape: the view is taken in the event loop, its text made in a thread."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib import import_module

from rekindle.controller.metrics.metrics import Metrics
from rekindle.controller.state import State
from rekindle.controller.status import StatusReport


@dataclass(eq=False)
class Scrape:
    """Makes the text; those who ask at the same moment get the same one."""

    _metrics: Metrics
    _state: State
    _status: StatusReport
    _running: asyncio.Task[str] | None = None

    async def text(self) -> str:
        """The metrics in Prometheus text format."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._make(), name="scrape")
        return await asyncio.shield(self._running)

    async def _make(self) -> str:
        # Loaded here, and outside of the loop: most controllers are never asked.
        await asyncio.to_thread(import_module, "rekindle.controller.metrics.families")
        from rekindle.controller.metrics.families import render
        from rekindle.controller.metrics.view import view

        status = await self._status.make(pools=False)
        tables = view(self._metrics, self._state, status)
        return await asyncio.to_thread(render, tables)
