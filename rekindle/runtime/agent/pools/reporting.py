"""How soon the controller is to hear of results. Knows nothing of how they travel."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from rekindle.runtime.agent.inputs.assignment import Order
from rekindle.runtime.agent.pools.pace import Pace
from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.uplink import GATHER_S

#: What an order said of others counts for so long.
_COUNTS_S = 0.1


@dataclass(eq=False)
class Reporting:
    """Of the results of one pool."""

    _runners: RunnerSet
    _pace: Pace
    #: Whether the controller had more inputs than it gave us, as its last order says.
    _others_waited: bool = False
    #: When that order came (monotonic seconds).
    _came_at: float = -math.inf

    @property
    def others_wait(self) -> bool:
        """Whether the controller has more for us, as far as we know: nothing takes back what an
        order said, so it counts no longer than the next one would take."""
        return self._others_waited and time.monotonic() - self._came_at < _COUNTS_S

    def came(self, order: Order) -> None:
        """Inputs of an order have come."""
        self._others_waited = order.others_wait
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
