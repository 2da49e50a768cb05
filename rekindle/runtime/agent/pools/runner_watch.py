"""When runners that have inputs are looked at: every now and then, for as long as any has some.

What is seen, and done about it, is in runner_monitor.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.runners.runner import Runner

#: How often.
LOOK_S = 0.02


@dataclass(eq=False)
class Watch:
    """Over the runners of one pool."""

    _runners: RunnerSet
    #: Gets those that have inputs, and the time (monotonic).
    _look: Callable[[list[Runner], float], None]
    _timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Look at them from now on, until none has an input."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._now)

    def _now(self) -> None:
        self._timer = None
        busy = [runner for runner in self._runners.with_inputs() if runner.slices]
        if busy:
            self.soon()  # before: an error in one look is no end of looking
        self._look(busy, time.monotonic())
