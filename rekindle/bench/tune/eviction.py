"""What a simulated node could give up when its memory is short, cheapest loss first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rekindle.bench.tune.pools import SimPool
from rekindle.wire.pools import Level


class Candidate(NamedTuple):
    """An idle runner (WARM), or what is held below the runners of a pool that has none."""

    priority: float
    idle_since: float
    frees: float
    level: Level
    pool: SimPool


def candidates(pools: Iterable[SimPool], but: SimPool, now: float) -> list[Candidate]:
    """All that may go, in the order in which it should; never what ``min_containers`` asks for.

    What lies below idle runners goes after them.
    """
    found = []
    for pool in pools:
        plan = pool.plan
        if pool.idle:
            spare = pool.total() - plan.runners
            priority = plan.priority_of(Level.WARM)
            found += [
                Candidate(priority, runner.idle_since, pool.runner_bytes, Level.WARM, pool)
                for runner, _ in zip(pool.idle, range(spare), strict=False)
            ]
            all_idle = spare >= len(pool.idle) == pool.total()
            if all_idle and pool.base_bytes and pool is not but:
                # Not before its runners: they map it.
                later = max(priority, plan.priority_of(pool.base))
                found.append(Candidate(later, now, pool.base_bytes, pool.base, pool))
        elif not pool.total() and pool.base_bytes and pool is not but:
            priority = plan.priority_of(pool.base)
            found.append(Candidate(priority, pool.quiet_since, pool.base_bytes, pool.base, pool))
    found.sort(key=lambda candidate: candidate[:2])
    return found
