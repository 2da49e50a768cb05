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
    #: What was left of an input when the last share was cut: the next one has it.
    _rest: float = 0.0

    def take(self, runner: Runner, waiting: int, depth: int) -> int:
        """Of so many inputs that wait, the next of which is at this depth; they are handed to it.

        0 for a busy one that has its share before it.
        """
        size, self._rest = self._share(runner, waiting, depth)
        self._held += min(size, waiting)
        return size

    def size(self, runner: Runner, waiting: int, depth: int) -> int:
        """The same, and nothing is handed to it."""
        return self._share(runner, waiting, depth)[0]

    def _share(self, runner: Runner, waiting: int, depth: int) -> tuple[int, float]:
        """Its size, and the rest for the next one."""
        # All runners that are here, or soon: those that are busy will want their share, too.
        coming = self._runners.coming(depth, self._pace.runners_for(waiting))
        takers = len(self._runners) + coming
        if not self._pace.ahead:
            return self._pace.slice_size(math.ceil(waiting / max(1, takers))), self._rest
        # What each is to have before it; some have one more than others, so that it is all of it.
        # Were all shares rounded up, nothing would be left for the last ones.
        exact = (waiting + self._before_all()) / max(1, takers) + self._rest
        share, rest = int(exact), exact % 1
        if runner.slices:
            share -= runner.not_begun
            return (self._pace.slice_size(share) if share > 0 else 0), rest
        # Others that have nothing have a share of what waits, too.
        share = min(share, math.ceil(waiting / max(1, len(self._runners.idle()))))
        return self._pace.slice_size(share), rest

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
        runner.recall(now)
        back += behind
