"""Pools of instances with parameters that nobody has called for long close; a call opens them anew.

There may be a pool for each of thousands of values, and each is looked at, reported and planned for
as long as it is open. Those of functions, and of classes without parameters, are as many as apps
declare: they stay. Between the look that finds one at rest and its end the loop has no turn, so
what comes finds it open, or opens another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.leases.requests import Requests
from rekindle.runtime.agent.pools.agenda import PoolKey
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.scheduling.idle_levels import TEMPLATES, live
from rekindle.wire.pools import Level, PoolPlan

#: One that holds something for its next start (a template, say) closes after so many times the time
#: of one that holds nothing: a day of ten minutes.
HELD_TIMES = 144


@dataclass(eq=False)
class Resting:
    """Closes them."""

    _inventory: Inventory
    _requests: Requests
    #: For how long nothing may happen in one.
    _rest_s: float
    #: Since when a pool has been seen to have nothing to do (monotonic seconds).
    _since: dict[PoolKey, tuple[Pool, float]] = field(default_factory=dict)

    def close_rested(self) -> None:
        """Called now and then."""
        now = time.monotonic()
        since, self._since = self._since, {}
        for key, pool in list(self._inventory.pools.items()):
            if not key[1] or pool.closed or pool.sizing.plan.runners:
                continue
            if pool.works or self._requests.of(key):
                continue
            known, began = since.get(key, (pool, now))
            rested_s = min(now - began, pool.sizing.quiet_s()) if known is pool else 0.0
            limit_s = self._rest_s * (HELD_TIMES if _holds(pool) else 1)
            if rested_s < limit_s:
                self._since[key] = (pool, now - rested_s)
                continue
            del self._inventory.pools[key]
            pool.shut()


def _holds(pool: Pool) -> bool:
    """Whether something is kept for its next runner, or will be."""
    return live(pool.revision) or any(
        _is_ahead(level, pool) for level in _levels_from(pool.sizing.plan, pool.sizing.quiet_s())
    )


def _is_ahead(level: Level, pool: Pool) -> bool:
    if level is Level.WARM or not pool.revision.snapshots_enabled:
        return level is Level.WARM
    return level in (Level.MAPPED, Level.CACHED) or (level in TEMPLATES and pool.sizing.plan.ahead)


def _levels_from(plan: PoolPlan, quiet_s: float) -> Iterator[Level]:
    """What a plan asks for from a moment of the quiet time on."""
    yield plan.level_at(quiet_s)
    for step in plan.rest:
        if quiet_s < 0:
            yield step.level
        quiet_s -= step.for_s
