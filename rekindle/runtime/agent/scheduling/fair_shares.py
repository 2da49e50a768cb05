"""Places of a full node for pools that wait: one that has more than its share gives one up.

Nothing is interrupted. Whichever of the giver's runners ends first what it has is stopped, and
until the pool that waits has the place, no other gets it. What a runner had before it is given to
the giver's others; one that a client calls all the time comes back after a call. A pool gives only
to one that still has no more than it afterwards: so neither gives it back. Where there are more
pools than places, those that have one runner take turns. Runners that a plan keeps do not go for
this; where they are missing, their pool waits for a place as well, but takes no other's only
runner: that pool would need a place at once, and an idle runner that is kept goes for it. One that
has several inputs at a time is given no more, or it would never end all of them. Knows nothing of
how a runner is made to end (dispatcher.py, recalls.py), nor of memory or GPUs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from rekindle.runtime.agent.pools.agenda import Agenda, PoolKey
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import Runner

#: A pool waits so long for a place to become free by itself.
PATIENCE_S = 0.2
#: A pool keeps its only runner for so long at least, and for as long as this many of its starts.
TURN_S, TURN_STARTS = 1.0, 5


@dataclass(eq=False)
class FairShares:
    """Of the places of one node."""

    _agenda: Agenda
    #: Has one runner more of a pool end, the first that has nothing to run; and has it looked at
    #: again where that is not so yet.
    _give_one_up: Callable[[Pool], None]
    _remind: Callable[[Pool], None]
    #: Since when a pool has found no place (monotonic seconds).
    _waits: dict[PoolKey, float] = field(default_factory=dict)
    #: Pool that is to have a place -> the one that gives it up, in the order of their asking.
    _gifts: dict[PoolKey, Pool] = field(default_factory=dict)
    #: Of those that wait: pools that lack what their plan keeps, and no input or client waits.
    _ahead: set[PoolKey] = field(default_factory=set)
    #: When a pool had its last place.
    _had_at: dict[PoolKey, float] = field(default_factory=dict)

    def ask(self, pool: Pool, pools: Iterable[Pool], *, ahead: bool) -> None:
        """An input, or a client, of a pool waits for a runner, and there is no place for one.

        ``ahead``: none does, but its plan keeps a runner more than it has.
        """
        now = time.monotonic()
        (self._ahead.add if ahead else self._ahead.discard)(pool.key)
        left_s = self._waits.setdefault(pool.key, now) + PATIENCE_S - now
        if left_s > 0:
            self._agenda.add_later(pool.key, left_s)
            return  # later it is looked at as often as all are: there may be thousands that wait
        giver = self._gifts.get(pool.key)
        if giver is not None and (giver.closed or not giver.dispatcher.giving):
            self._end_gift(pool.key)  # what it gave up is someone else's, or is not there
            giver = None
        if giver is None and (giver := self._giver(pool, pools, now)) is not None:
            self._gifts[pool.key] = giver
            self._give_one_up(giver)
        elif giver is not None:
            self._remind(giver)

    def end_excess(self, pools: Iterable[Pool], excess: int) -> None:
        """Have runners beyond the places end, which calls inside of calls had needed: one more at
        each look, until so many have been told. 0 or less: none is to end for that any more."""
        told: dict[PoolKey, int] = {}
        able: list[tuple[int, PoolKey, Pool]] = []
        for pool in pools:
            told[pool.key] = max(0, pool.dispatcher.giving - self._given_by(pool))
            if told[pool.key] and excess <= 0:
                pool.dispatcher.give_no_more_than(self._given_by(pool))
            size = pool.runners.size() - pool.dispatcher.giving
            if not pool.closed and size > pool.sizing.plan.runners and self._able(pool) > 0:
                able.append((size, pool.key, pool))
        if sum(told.values()) < excess and able:
            self._give_one_up(max(able)[-1])

    def has_waited(self, key: PoolKey) -> bool:
        """Whether a pool has waited for a place for as long as one becomes free by itself."""
        return time.monotonic() - self._waits.get(key, math.inf) >= PATIENCE_S

    def kept_from(self, pool: Pool) -> int:
        """Places that are for others, which have been asking for longer."""
        keys = list(self._gifts)
        return keys.index(pool.key) if pool.key in self._gifts else len(keys)

    def has_place(self, key: PoolKey) -> None:
        """A pool starts a runner."""
        self._had_at[key] = time.monotonic()
        self.waits_no_more(key)

    def waits_no_more(self, key: PoolKey) -> None:
        """A pool lacks no runner, or has a place for it, or is closed."""
        self._waits.pop(key, None)
        self._ahead.discard(key)
        self._end_gift(key)

    def is_ahead(self, key: PoolKey) -> bool:
        """Whether no input of a pool waits, nor a client, but a runner that its plan keeps."""
        return key in self._ahead

    def takers(self) -> list[PoolKey]:
        """Pools that are to have the next places."""
        return list(self._gifts)

    def forget_all_but(self, keys: Iterable[PoolKey]) -> None:
        """Of these pools alone there is something to know."""
        there = set(keys)
        for key in {*self._waits, *self._gifts, *self._had_at} - there:
            self.waits_no_more(key)
            self._had_at.pop(key, None)

    def _end_gift(self, key: PoolKey) -> None:
        giver = self._gifts.pop(key, None)
        if giver is not None:
            giver.dispatcher.give_no_more_than(self._given_by(giver))

    @staticmethod
    def _able(pool: Pool) -> int:
        """Runners that may go, but for those that do."""
        able = sum(1 for one in pool.runners.values() if _may_go(one))
        if pool.revision.spec.single_use_containers:
            able = pool.runners.size()  # those that start, too, end by themselves
        return able - pool.dispatcher.giving

    def _given_by(self, giver: Pool) -> int:
        return sum(1 for one in self._gifts.values() if one is giver)

    def _giver(self, taker: Pool, pools: Iterable[Pool], now: float) -> Pool | None:
        has = taker.runners.size()
        found: list[tuple[int, float, PoolKey, Pool]] = []
        for pool in pools:
            size = pool.runners.size() - pool.dispatcher.giving
            if (
                pool is taker
                or pool.closed
                or size <= pool.sizing.plan.runners
                or self._able(pool) <= 0
            ):
                continue
            had_s = now - self._had_at.get(pool.key, 0.0)
            turn_s = max(TURN_S, TURN_STARTS * pool.dispatcher.pace.start_s)
            takes_turns = size == 1 and not has and not self.is_ahead(taker.key)
            if size >= has + 2 or (takes_turns and had_s >= turn_s):
                found.append((size, had_s, pool.key, pool))
        return max(found)[-1] if found else None


def _may_go(runner: Runner) -> bool:
    """One that waits for calls that it made may wait for the very pool that wants its place."""
    return runner.serves and runner.waits_at < 0
