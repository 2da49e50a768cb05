"""Each runner's share of what is to be run: of what waits, and of what others have before them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from rekindle.runtime.agent.pools.pace import Pace
from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.runners.runner import Runner

#: What all runners have before them is counted so often, at most: each count looks at every page.
_COUNTED_EVERY_S = 0.005


@dataclass(eq=False)
class Shares:
    """How many inputs a runner gets next."""

    _runners: RunnerSet
    _pace: Pace
    #: What runners have before them, and when that was counted (monotonic seconds).
    _held: int = 0
    _counted_at: float = 0.0

    def size(self, runner: Runner, waiting: int, depth: int) -> int:
        """Of so many inputs that wait, the next of which is at this depth."""
        # All runners that are here, or soon: those that are busy will want their share, too.
        coming = self._runners.coming(depth, self._pace.runners_for(waiting))
        takers = len(self._runners) + coming
        if not self._pace.ahead:
            return self._pace.slice_size(waiting, takers)
        if runner.slices:
            size = self._pace.slice_size(waiting, takers, self._before_all(), runner.not_begun)
        else:  # others that have nothing have a share of what waits, too
            idle = max(1, len(self._runners.idle()))
            even = self._pace.slice_size(waiting, takers, self._before_all())
            size = min(even, math.ceil(waiting / idle))
        self._held += min(size, waiting)
        return size

    def _before_all(self) -> int:
        """Inputs that runners have before them, as of a moment ago."""
        now = time.monotonic()
        if now - self._counted_at > _COUNTED_EVERY_S:
            self._held = sum(max(0, one.not_begun) for one in self._runners.with_inputs())
            self._counted_at = now
        return self._held


def call_back_for_idle(runners: RunnerSet, pace: Pace) -> None:
    """Nothing waits: have the runners with the most before them give it back, for idle ones.

    It waits again when their present inputs have ended.
    """
    idle = len(runners.idle())
    if not idle:
        return
    back, givers = 0, []
    for runner in runners.with_inputs():
        behind = runner.not_begun
        if runner.recalled_at:
            back += behind
        elif pace.worth_sharing(behind) and not runner.dying:
            givers.append((behind, runner))
    givers.sort(key=lambda giver: giver[0])
    now = time.monotonic()
    while givers and back < idle:
        behind, runner = givers.pop()
        runner.page.recall(runner.handed)
        runner.recalled_at = now
        back += behind
