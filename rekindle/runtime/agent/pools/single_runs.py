"""Runners that run one input and nothing beside or after it, until they end.

For inputs whose strategy is asked for by name (agent/forced.py).
"""

from __future__ import annotations

import asyncio


class SingleRuns:
    """Those of one pool."""

    def __init__(self) -> None:
        self._ended: dict[str, asyncio.Event] = {}

    def begins(self, runner_id: str) -> asyncio.Event:
        """A runner is handed its only input. The event is set when it has ended."""
        self._ended[runner_id] = ended = asyncio.Event()
        return ended

    def ended(self, runner_id: str) -> bool:
        """Note that a runner has nothing left to run; whether it was one of these."""
        ended = self._ended.pop(runner_id, None)
        if ended is not None:
            ended.set()
        return ended is not None
