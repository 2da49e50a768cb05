"""What the controller asks of a node for one pool: the levels between warm and cold, and the plan.

A plan can be followed without asking again: it says what to hold while inputs run, and what to
hold for how long once they have ended. The agent's pools and the simulator read it with the same
methods. wire/messages.py has its message. Standard library only; knows nothing of policies, which
make plans.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from rekindle.wire.phases import Strategy

#: Spares where neither the user nor a policy says how many: a burst of a few. See docs/tuning.md.
SPARES = 3


class Level(enum.Enum):
    """What is held of a function, from the next runner's point of view; warmest first."""

    WARM = "warm"  # an idle runner
    SPARE = "spare"  # a live template and children of it that wait: the next runner is one of them
    BOOTED = "booted"  # a live template with memory of its own: the next runner is forked
    MAPPED = "mapped"  # a live template restored from its snapshot, memory mapped: forked too
    CACHED = "cached"  # a snapshot in the page cache: the next runner is restored
    DISK = "disk"  # a snapshot on disk alone: restored, and read
    NONE = "none"  # nothing: booted cold

    # Levels are the keys of the tables that every plan is made from; Enum's own is slower.
    __hash__ = object.__hash__

    @property
    def strategy(self) -> Strategy:
        """How a runner comes to be from here."""
        return _STRATEGIES[self]


_STRATEGIES = {
    Level.WARM: Strategy.WARM,
    Level.SPARE: Strategy.SPARE,
    Level.BOOTED: Strategy.FORK,
    Level.MAPPED: Strategy.FORK,
    Level.CACHED: Strategy.RESTORE,
    Level.DISK: Strategy.RESTORE,
    Level.NONE: Strategy.COLD,
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured of one level of one function revision.

    ``memory_bytes`` of WARM is what one more runner adds to the node (its private memory), of SPARE
    what one spare adds to its template; of the other levels, all that is held there, page cache
    included. The CPU time of SPARE is that of the start alone: the next spare is a fork.
    """

    start_s: float  # from its order to a runner that is ready for an input
    memory_bytes: int = 0
    disk_bytes: int = 0
    cpu_s: float = 0.0  # CPU time that such a start takes
    gpus: float = 0.0  # held by a runner; nothing below WARM holds any


def template_of(levels: Mapping[Level, Figures]) -> Figures | None:
    """The template that spares wait beside, and are forked from: a mapped one where possible."""
    return levels.get(Level.MAPPED) or levels.get(Level.BOOTED)


@dataclass(frozen=True)
class Rest:
    """One step of what is held after the last input has ended: this level, this long."""

    level: Level
    for_s: float = math.inf


@dataclass(frozen=True, kw_only=True)
class PoolPlan:
    """What a node is asked to hold for one pool.

    Two things matter: ``busy`` is the number of runners that have an input, ``quiet_s`` for how
    long no input has been running or waiting (0 while one is). A pool that was never used keeps
    nothing warm from its beginning on; what a plan asks for later than that, it gets.
    """

    #: Runners wanted however quiet it is, busy ones included.
    runners: int = 0
    #: Idle runners wanted next to the busy ones while the pool is active: while inputs run or wait,
    #: and for ``active_s`` after.
    buffer: int = 0
    active_s: float = 60.0
    #: An idle runner that is not wanted is stopped once it has been idle this long. In a quiet
    #: time ``rest`` decides: none that is not wanted is kept while it names a level below WARM.
    keep_s: float = 60.0
    #: Never more runners than this; None is no limit of the pool's own.
    max_runners: int | None = None
    #: A runner is started for a waiting input once it has waited this long (at once where the pool
    #: has no runner at all): where inputs are shorter than a start, a busy runner is free sooner.
    patience_s: float = 0.0
    #: What is held next to runners while inputs run: the next runner is started from it. A level
    #: that the node cannot have (no snapshot, say) means the best one below it.
    base: Level = Level.DISK
    #: Spares that wait where SPARE is asked for; a start takes one, and the next one is forked.
    #: Elsewhere there is none.
    spares: int = 0
    #: Whether the template of SPARE is made ready before the first input too. Otherwise it is kept
    #: once a start has made it, and spares wait wherever it is live.
    ahead: bool = False
    #: What is held at each moment of the quiet time, in order, counted from its beginning; a
    #: level may be warmer than the one before it (made ready ahead of time). WARM is one runner.
    #: The last step stays.
    rest: tuple[Rest, ...] = (Rest(Level.WARM, 60.0), Rest(Level.DISK))
    #: When memory is short, what has the lowest value goes first, over all pools of a node: an
    #: idle runner at WARM, what is held below it at its level. Absent: 0. Among equals, what has
    #: been idle longest.
    priority: Mapping[Level, float] = field(default_factory=dict)
    #: The policy wants to be asked again after this long, whatever happens; None: not by itself.
    again_s: float | None = None
    #: In words, for `rekindle pool ls`.
    why: str = ""

    def level_at(self, quiet_s: float) -> Level:
        """What to hold when the pool has been quiet this long."""
        for step in self.rest:
            quiet_s -= step.for_s
            if quiet_s < 0:
                return step.level
        return self.rest[-1].level if self.rest else Level.NONE

    def next_change_s(self, quiet_s: float) -> float:
        """How long from now, at ``quiet_s``, ``level_at`` will say something new; inf for never."""
        left = -quiet_s
        for step in self.rest[:-1]:
            left += step.for_s
            if left > 0:
                return left
        return math.inf

    def wanted(self, busy: int, quiet_s: float) -> int:
        """Runners to have now, busy ones included; missing ones are started."""
        wanted = max(self.runners, busy)
        if self.buffer and quiet_s < self.active_s:
            wanted = max(wanted, busy + self.buffer)
        if wanted == 0 and quiet_s > 0 and self.level_at(quiet_s) is Level.WARM:
            wanted = 1
        return wanted if self.max_runners is None else min(wanted, self.max_runners)

    def idle_limit_s(self, quiet_s: float) -> float:
        """How long a runner that is not wanted may have been idle, now."""
        resting = quiet_s > 0 and self.level_at(quiet_s) is not Level.WARM
        return 0.0 if resting else self.keep_s

    def priority_of(self, level: Level) -> float:
        """Its value when memory is short; the lowest goes first."""
        return self.priority.get(level, 0.0)
