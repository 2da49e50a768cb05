"""Direct calls, counted by pool: totals since this agent started, for its heartbeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rekindle.runtime.agent.leases.lease import Counts, Lease
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.wire import rekindle_pb2 as pb


class DirectCounts:
    """See the module."""

    def __init__(self) -> None:
        self._counts: dict[Pool, Counts] = {}

    def add(self, lease: Lease) -> bool:
        """What was called since the lease was counted last; whether anything was."""
        return lease.count(self._counts.setdefault(lease.pool, Counts()))

    def messages(self, leases: Iterable[Lease]) -> list[pb.DirectCalls]:
        """Of each pool, with the number of its leases.

        A pool that is closed is reported once more.
        """
        held = Counter(lease.pool for lease in leases)
        made = [
            pb.DirectCalls(
                function_id=pool.function_id,
                params=pool.revision.params,
                calls=counts.calls,
                failures=counts.failures,
                busy_s=round(counts.busy_ns / 1e9, 6),
                leases=held[pool],
            )
            for pool, counts in self._counts.items()
        ]
        for pool in [one for one in self._counts if one.closed and one not in held]:
            del self._counts[pool]
        return made
