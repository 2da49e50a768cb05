"""How soon the controller is to hear of results. Knows nothing of how they travel."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from rekindle.runtime.agent.inputs.assignment import Order
from rekindle.runtime.agent.pools.pace import Pace
from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.uplink import GATHER_S


@dataclass(eq=False)
class Reporting:
    """Of the results of one pool."""

    _runners: RunnerSet
    _pace: Pace
    #: Whether the controller has more inputs than it has given us, as its last order says.
    others_wait: bool = False
    #: When that order came (monotonic seconds).
    _came_at: float = -math.inf

    def came(self, order: Order) -> None:
        """Inputs of an order have come."""
        self.others_wait = order.others_wait
        self._came_at = time.monotonic()

    def is_soon(self, waiting: int) -> bool:
        """Whether a result, while so many inputs wait, is not to be gathered for GATHER_S."""
        return self._run_dry(waiting) or self._is_among_the_last(waiting)

    def _run_dry(self, waiting: int) -> bool:
        """Whether runners will have nothing to run before the controller, which hears of results
        after that time, has given more."""
        return self.others_wait and not self._pace.lasts(GATHER_S, waiting, len(self._runners))

    def _is_among_the_last(self, waiting: int) -> bool:
        """Whether there is nothing left for runners that had inputs, and nothing has come of late.

        Others end soon, too, and who waits for all would get most of it in the last message.
        """
        return (
            not waiting
            and time.monotonic() - self._came_at > GATHER_S
            and any(runner.handed and not runner.slices for runner in self._runners.values())
        )
