"""Runners that are to run one input and nothing else, and who waits for that (agent/forced.py)."""

from __future__ import annotations

import asyncio


class Alone:
    """Those of one pool."""

    def __init__(self) -> None:
        self._ended: dict[str, asyncio.Event] = {}

    def begins(self, runner_id: str) -> asyncio.Event:
        """A runner is handed its input; what is set when it has ended."""
        self._ended[runner_id] = ended = asyncio.Event()
        return ended

    def ended(self, runner_id: str) -> bool:
        """A runner has nothing left to run; whether it was to run one input alone."""
        ended = self._ended.pop(runner_id, None)
        if ended is not None:
            ended.set()
        return ended is not None
