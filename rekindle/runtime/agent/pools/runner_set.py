"""The runners of one pool, and which of them count against the places of an input.

A runner whose input waits for calls that it made does not count against the places of what is
deeper than that input: they are what it waits for. Against those of its own depth, or above, it
counts as ever. So no call waits for a place that its own callers hold, and inputs of one depth are
never more at a time than the limit. What a runner waits for, its page says (execution/nesting.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from rekindle.runtime.agent.pools.plan import Sizing
from rekindle.runtime.agent.runners.runner import Runner, RunnerState

#: Deeper than any input: no runner that waits counts.
DEEPEST = 1 << 30
_RUNNING = (RunnerState.BUSY, RunnerState.LENT)


class RunnerSet(dict[str, Runner]):
    """Runners by id, and how many are on their way."""

    def __init__(self, sizing: Sizing) -> None:
        super().__init__()
        self._sizing = sizing
        #: Runners that are being started.
        self.starting = 0
        #: Those of them that are a client's already.
        self.promised = 0
        #: Runners that it may have beyond the limit, as those it has wait for one another
        #: (stalls.py).
        self.beyond = 0

    # ---- by state ------------------------------------------------------------------------------

    def idle(self) -> list[Runner]:
        """Runners that have nothing to do."""
        idle = RunnerState.IDLE
        return [r for r in self.values() if r.state is idle and not r.private]

    def last_used(self) -> Runner | None:
        """The idle runner that was used last: its caches are the warmest."""
        return max(self.idle(), key=lambda runner: runner.idle_since, default=None)

    def with_inputs(self) -> list[Runner]:
        """Runners that have inputs."""
        return [r for r in self.values() if r.state is RunnerState.BUSY]

    def busy(self) -> int:
        """How many have an input, or a client of their own."""
        busy, lent = _RUNNING
        return len([1 for r in self.values() if (at := r.state) is lent or at is busy])

    def size(self) -> int:
        """How many there are or will be: those that are being started included."""
        return len(self) + self.starting

    @property
    def unclaimed(self) -> int:
        """How many are being started that are no client's yet."""
        return self.starting - self.promised

    # ---- places --------------------------------------------------------------------------------

    @property
    def limit(self) -> int:
        """How many it may have now."""
        return self._sizing.limit + self.beyond

    def counting(self, depth: int) -> Iterator[Runner]:
        """The runners that count against the places of an input at ``depth``."""
        for runner in self.values():
            if not depth or not 0 <= runner.waits_at < depth:
                yield runner

    def taken(self, depth: int) -> int:
        """Places that are taken, for an input at ``depth``."""
        if not depth:  # nearly always
            return len(self) + self.starting
        return sum(1 for _ in self.counting(depth)) + self.starting

    def running(self, depth: int = DEEPEST) -> int:
        """How many of those that count have something to run, or a client of their own."""
        return sum(1 for runner in self.counting(depth) if runner.state in _RUNNING)

    def may_run(self, depth: int) -> bool:
        """Whether one more of them may run an input at this depth."""
        return len(self) <= self.limit or self.running(depth) < self.limit

    def coming(self, depth: int, worth: int) -> int:
        """Runners that will be there soon, where what waits is worth so many."""
        return self.starting + max(0, min(self._sizing.limit - self.taken(depth), worth))
