"""What a policy did on a trace, in figures: starts, waits, what was held, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rekindle.bench.tune.pools import SimPool
from rekindle.bench.tune.simulator import Simulation
from rekindle.controller.policies.policy import GIB, Prices
from rekindle.wire.phases import Strategy
from rekindle.wire.pools import Level

#: The percentiles of the start latency that are shown.
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One policy's figures. Start latency is from an input's arrival until a runner begins it."""

    calls: int
    cold: int
    restored: int
    forked: int
    spared: int  # began on a spare
    warm: int
    #: Percentiles over all calls, ms.
    p50_ms: float
    p95_ms: float
    p99_ms: float
    #: The same, every function counting alike, however often it is called: what the calls of a
    #: function taken at random see. Hot functions, warm under any policy, hide the others above.
    even_p50_ms: float
    even_p95_ms: float
    even_p99_ms: float
    mean_ms: float
    gib_hours: float
    #: Of those, held while nothing ran: by idle runners and below them.
    idle_gib_hours: float
    spare_gib_hours: float  # of all, held by spares
    gpu_hours: float
    cpu_hours: float  # of starts
    disk_gib_hours: float
    peak_gib: float
    evictions: int
    cost: float
    spare_cost: float  # of it, for the memory of spares
    duration_s: float

    @property
    def cold_share(self) -> float:
        """Share of calls that waited for a cold start."""
        return self.cold / self.calls if self.calls else 0.0

    @property
    def cost_per_day(self) -> float:
        """The cost of a day at this rate."""
        return self.cost * 86400 / self.duration_s if self.duration_s else 0.0

    @property
    def started(self) -> int:
        """Calls that began on a runner that was made for them."""
        return self.cold + self.restored + self.forked + self.spared

    @property
    def waiting_hours(self) -> float:
        """Hours that callers waited, together."""
        return self.mean_ms * self.calls / 3.6e6

    @property
    def start_ms(self) -> float:
        """Mean wait of a call that began on a runner that was made for it, or waited for one."""
        return self.mean_ms * self.calls / self.started if self.started else 0.0

    def at(self, percentile: int) -> float:
        """A percentile of the start latency over all calls, ms: one of PERCENTILES."""
        return {50: self.p50_ms, 95: self.p95_ms, 99: self.p99_ms}[percentile]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        raw = asdict(self)
        raw["cold_share"] = self.cold_share
        raw["cost_per_day"] = self.cost_per_day
        return {k: round(v, 9) if isinstance(v, float) else v for k, v in raw.items()}


def outcome(simulation: Simulation, prices: Prices) -> Outcome:
    """The figures of a simulation that has run."""
    pools = simulation.pools
    calls = sum(pool.counted() for pool in pools)
    waits = sorted(wait for pool in pools for wait in pool.waits)
    plain = [_percentile(waits, calls, q) for q in PERCENTILES]
    even = _even(pools)
    spare_s = sum(pool.spare_s for pool in pools)
    memory_s = spare_s + sum(
        pool.runner_s * pool.runner_bytes + pool.base_memory_s for pool in pools
    )
    idle_s = sum(
        pool.idle_s * pool.runner_bytes + pool.base_idle_s + pool.spare_idle_s for pool in pools
    )
    gpu_s = sum(pool.runner_s * pool.figures[Level.WARM].gpus for pool in pools)
    cpu_s = sum(pool.cpu_s for pool in pools)
    disk_s = sum(pool.disk_s for pool in pools)
    cost = (
        memory_s / GIB * prices.gib_hour
        + gpu_s * prices.gpu_hour
        + cpu_s * prices.cpu_hour
        + disk_s / GIB * prices.disk_gib_hour
    ) / 3600
    return Outcome(
        calls=calls,
        cold=_started(pools, Strategy.COLD),
        restored=_started(pools, Strategy.RESTORE),
        forked=_started(pools, Strategy.FORK),
        spared=_started(pools, Strategy.SPARE),
        warm=sum(pool.warm for pool in pools),
        p50_ms=plain[0],
        p95_ms=plain[1],
        p99_ms=plain[2],
        even_p50_ms=even[0],
        even_p95_ms=even[1],
        even_p99_ms=even[2],
        mean_ms=1000 * sum(waits) / calls if calls else 0.0,
        gib_hours=memory_s / GIB / 3600,
        idle_gib_hours=idle_s / GIB / 3600,
        spare_gib_hours=spare_s / GIB / 3600,
        gpu_hours=gpu_s / 3600,
        cpu_hours=cpu_s / 3600,
        disk_gib_hours=disk_s / GIB / 3600,
        peak_gib=simulation.peak_used / GIB,
        evictions=sum(pool.evicted for pool in pools),
        cost=cost,
        spare_cost=spare_s / GIB * prices.gib_hour / 3600,
        duration_s=simulation.end,
    )


def _started(pools: Sequence[SimPool], strategy: Strategy) -> int:
    return sum(pool.starts[strategy] for pool in pools)


def _percentile(waits: Sequence[float], calls: int, q: int) -> float:
    """The percentile in ms of ``calls`` of which all but ``waits`` (sorted) did not wait."""
    place = math.ceil(calls * q / 100) - (calls - len(waits))
    return 1000 * waits[place - 1] if place > 0 else 0.0


def _even(pools: Sequence[SimPool]) -> list[float]:
    """The percentiles when every function that was called has the same weight."""
    weighted = []
    total = 0
    for pool in pools:
        calls = pool.counted()
        if calls:
            total += 1
            weighted += [(wait, 1.0 / calls) for wait in pool.waits]
    weighted.sort()
    did_wait = sum(weight for _, weight in weighted)
    found = []
    for q in PERCENTILES:
        target = total * q / 100 - (total - did_wait)
        value = 0.0
        for wait, weight in weighted:
            if target <= 1e-12:
                break
            value = wait
            target -= weight
        found.append(1000 * value)
    return found
