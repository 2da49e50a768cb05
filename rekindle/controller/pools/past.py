"""What a new sizer learns of first: arrivals that were recorded before it was there.

Those of other controllers, and of the time when the pool had another policy. What arrives while
they are read it learns of with them.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence

from rekindle.controller.policies.policy import Policy, Sizer
from rekindle.controller.pools.arrivals import ArrivalLog
from rekindle.controller.pools.blocks import Arrival
from rekindle.controller.pools.pool_state import MOST_AT_ONCE, PoolState
from rekindle.exception import Error
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: So many at most, the newest.
_MOST = 5_000


def note_missed(pool: PoolState) -> bool:
    """Note from now on what a pool's new sizer misses, if it is to ``learn``; whether it is."""
    learns = pool.effective.policy != "declared"
    pool.missed = deque(maxlen=_MOST) if learns else None
    return learns


async def learn(
    pool: PoolState, policy: Policy, arrivals: ArrivalLog, clock: Callable[[], float]
) -> bool:
    """Give a pool a sizer that knows of the past, of the policy that it has; False where that could
    not be read, or the pool has another policy meanwhile."""
    sizer = pool.sizer
    await arrivals.flush()
    try:
        recorded, service_s = await arrivals.newest((pool.label, pool.digest), _MOST)
    except Error as error:
        why = kv(of=pool.label, params=pool.digest[:8], reason=error)
        log.warning("a policy begins without what was recorded", extra=why)
        if pool.sizer is sizer:
            pool.missed = None
        return False
    if pool.sizer is not sizer:
        return False
    seen = {at for at, _ in pool.missed or ()}
    past = [one for one in recorded[-_MOST:] if one[0] not in seen]
    fresh = policy.sizer()
    tell(fresh, sorted({*past, *(pool.missed or ())}), service_s, clock())
    pool.sizer, pool.missed = fresh, None
    return True


def tell(sizer: Sizer, arrivals: Sequence[Arrival], service_s: float, now: float) -> None:
    """Let a new sizer learn from recorded arrivals; an input is taken to run for ``service_s``."""
    busy_until = -math.inf
    for at, count in arrivals:
        if at >= now:
            break
        if -math.inf < busy_until < at:
            sizer.quiet(busy_until)
        for _ in range(min(count, MOST_AT_ONCE)):
            sizer.arrived(at)
        busy_until = max(busy_until, at + service_s)
    if -math.inf < busy_until <= now:
        sizer.quiet(busy_until)
