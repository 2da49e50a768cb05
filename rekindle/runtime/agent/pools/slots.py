"""A node that has all the runners it may have: which idle one makes room for one that is wanted.

A runner that has been idle for less than its next start would cost is kept from pools that can do
without: two pools in turn would else spend their time starting what the other has stopped. (The
rule of ski rental: whoever waits as long as the purchase costs pays at most twice the best.) A pool
that has no runner at all does not wait. Knows nothing of memory; see budget.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from rekindle.wire.pools import Level

if TYPE_CHECKING:
    from rekindle.runtime.agent.pools.pool import Pool
    from rekindle.runtime.agent.runners.runner import Runner


class Idle(NamedTuple):
    """An idle runner; what sorts first goes first."""

    kept: bool  # its pool's plan keeps it
    priority: float
    idle_since: float
    runner_id: str
    pool: Pool
    runner: Runner


def make_room(pools: Iterable[Pool], pool: Pool, *, ahead: bool) -> float | None:
    """Stop an idle runner of another pool: 0 when one is stopped, else when to ask again, in s.

    None when no runner of another pool is idle. For a runner that no input waits for, ``ahead``,
    only those go that no plan keeps.
    """
    idle = sorted(_idle(pools, pool))
    if ahead:
        idle = [one for one in idle if not one.kept]
    must = not ahead and not pool.size() and not pool.starting
    now, waits_s = time.monotonic(), []
    for one in idle:
        left_s = 0.0 if must else one.pool.start_s() - (now - one.idle_since)
        if left_s <= 0:
            one.pool.stop_runner(one.runner)
            return 0.0
        waits_s.append(left_s)
    return min(waits_s, default=None)


def _idle(pools: Iterable[Pool], taker: Pool) -> Iterable[Idle]:
    for pool in pools:
        if pool is taker:
            continue
        kept = pool.size() <= pool.sizing.plan.runners
        priority = pool.sizing.plan.priority_of(Level.WARM)
        for runner in pool.idle():
            yield Idle(kept, priority, runner.idle_since, runner.id, pool, runner)
