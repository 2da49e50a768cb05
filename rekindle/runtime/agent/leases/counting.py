"""Direct calls, counted by pool: totals since this agent started, for its heartbeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rekindle.runtime.agent.leases.lease import Counts, Lease
from rekindle.runtime.agent.pools.agenda import PoolKey
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.wire import rekindle_pb2 as pb


class DirectCounts:
    """See the module."""

    def __init__(self) -> None:
        #: With the pool that is open, or was last: one that is opened anew goes on counting.
        self._counts: dict[PoolKey, tuple[Pool, Counts]] = {}

    def add(self, lease: Lease) -> bool:
        """What was called since the lease was counted last; whether anything was."""
        pool = lease.pool
        known = self._counts.get(pool.key)
        if known is None:
            known = self._counts[pool.key] = (pool, Counts())
        elif known[0].closed and known[0] is not pool:
            known = self._counts[pool.key] = (pool, known[1])
        return lease.count(known[1])

    def messages(self, leases: Iterable[Lease]) -> list[pb.DirectCalls]:
        """Of each pool, with the number of its leases.

        A pool that is closed is reported once more.
        """
        held = Counter(lease.pool.key for lease in leases)
        made = [
            pb.DirectCalls(
                function_id=pool.function_id,
                params=pool.revision.params,
                calls=counts.calls,
                failures=counts.failures,
                busy_s=round(counts.busy_ns / 1e9, 6),
                leases=held[key],
            )
            for key, (pool, counts) in self._counts.items()
        ]
        for key in [one for one, (pool, _) in self._counts.items() if pool.closed]:
            if key not in held:
                del self._counts[key]
        return made
