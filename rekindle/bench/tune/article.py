"""The worked example of an article that this project began with, recomputed.

"1000 requests a day, 2 s of GPU time each, 30 s cold start": 8.9 GPU-hours a day without warm
pools, 25.4 with them, 0.56 with snapshots that start in 200 ms. Each figure is taken as a claim:
its arithmetic, the closed form of what it describes, and the simulator on Poisson arrivals.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from rekindle.bench.tune import costs
from rekindle.bench.tune.outcome import Outcome, outcome
from rekindle.bench.tune.settings import Setting
from rekindle.bench.tune.simulator import Simulation
from rekindle.bench.tune.trace import Arrivals, TracedFunction, in_memory
from rekindle.controller.policies.policy import GIB, PoolSettings, Prices
from rekindle.wire.pools import Figures, Level

REQUESTS, SERVICE_S, COLD_S, RESTORE_S, HITS = 1000, 2.0, 30.0, 0.2, 0.9
MODEL_BYTES = 7 * 10**9
_DAY_S = 86400.0
_RATE = REQUESTS / _DAY_S
#: Days that are simulated; figures are a day's mean.
DAYS, QUICK_DAYS = 60, 6


@dataclass(frozen=True)
class Row:
    """One figure: as claimed, by closed form, and as simulated."""

    what: str
    claimed: float | None
    closed: float
    simulated: Outcome | None

    @property
    def simulated_hours(self) -> float | None:
        """GPU-hours of a simulated day."""
        if self.simulated is None:
            return None
        return self.simulated.gpu_hours / self.simulated.duration_s * _DAY_S

    @property
    def hits(self) -> float | None:
        """Share of simulated requests that found a warm runner."""
        if self.simulated is None:
            return None
        return self.simulated.warm / self.simulated.calls


def keep_for(hits: float) -> float:
    """How long an idle runner is kept so that this share of Poisson arrivals finds it."""
    return -math.log(1 - hits) / _RATE


def idle_hours(keep_s: float) -> float:
    """GPU-hours a day that a runner kept for ``keep_s`` after each request is idle.

    After each, it waits for the next one or for ``keep_s``, whichever is sooner.
    """
    return REQUESTS * (1 - math.exp(-_RATE * keep_s)) / _RATE / 3600


def rows(days: int | None = None) -> list[Row]:
    """All figures, the article's first of each."""
    days = days or DAYS
    compute = REQUESTS * SERVICE_S / 3600
    misses = (1 - HITS) * REQUESTS
    keep_s = keep_for(HITS)
    kept = idle_hours(keep_s) + compute
    one = PoolSettings(min_containers=1)
    ours = costs.RESTORE_S
    return [
        Row(
            "every request cold, nothing kept",
            8.9,
            REQUESTS * (SERVICE_S + COLD_S) / 3600,
            simulate(COLD_S, Setting("fixed", {"keep_s": 0.0}), days),
        ),
        Row(
            "90 % warm, pool of one for 24 h, as added up",
            25.4,
            24 + compute * HITS + misses * (SERVICE_S + COLD_S) / 3600,
            None,
        ),
        Row(
            "... without counting the warm requests twice",
            None,
            24 + misses * (SERVICE_S + COLD_S) / 3600,
            None,
        ),
        Row(
            "one runner always there, more when it is busy",
            None,
            24 + REQUESTS * _RATE * SERVICE_S * COLD_S / 3600,
            simulate(COLD_S, Setting("fixed", {"keep_s": 0.0}), days, one),
        ),
        Row(
            f"90 % warm by keeping a runner for {keep_s:.0f} s",
            None,
            kept + misses * COLD_S / 3600,
            simulate(COLD_S, Setting("fixed", {"keep_s": keep_s}), days),
        ),
        Row(
            "snapshots, 90 % warm, no pool cost",
            0.56,
            (HITS * REQUESTS * SERVICE_S + misses * (SERVICE_S + RESTORE_S)) / 3600,
            None,
        ),
        Row(
            "... with the runners that make 90 % warm",
            None,
            kept + misses * RESTORE_S / 3600,
            simulate(RESTORE_S, Setting("fixed", {"keep_s": keep_s}), days),
        ),
        Row(
            "... or nothing kept, every request restored",
            None,
            REQUESTS * (SERVICE_S + RESTORE_S) / 3600,
            simulate(RESTORE_S, Setting("fixed", {"keep_s": 0.0}), days),
        ),
        Row(
            f"rekindle's restore ({1000 * ours:.0f} ms, before any GPU context), nothing kept",
            None,
            REQUESTS * (SERVICE_S + ours) / 3600,
            simulate(ours, Setting("fixed", {"keep_s": 0.0}), days),
        ),
        Row(
            "the same, snapshot-aware",
            None,
            REQUESTS * (SERVICE_S + ours) / 3600,
            simulate(ours, Setting("snapshot-aware", {"target_ms": 500.0}), days),
        ),
    ]


def verdicts(prices: Prices) -> list[str]:
    """Where the example is right, and where it is off."""
    keep_s = keep_for(HITS)
    compute = REQUESTS * SERVICE_S / 3600
    busy = _RATE * SERVICE_S
    cold_pool = 24 + (1 - HITS) * REQUESTS * (SERVICE_S + COLD_S) / 3600
    kept = idle_hours(keep_s) + compute + (1 - HITS) * REQUESTS * COLD_S / 3600
    cold = REQUESTS * (SERVICE_S + COLD_S) / 3600
    restored = REQUESTS * (SERVICE_S + RESTORE_S) / 3600
    cached = MODEL_BYTES / GIB * 24 * prices.gib_hour
    first = (
        f"8.9 h is right for what it describes: {REQUESTS} x {SERVICE_S + COLD_S:g} s = "
        f"{cold:.2f} h. Simulated it is a little less: a request that comes while another one's "
        "runner starts takes whichever is ready first, and needs no start of its own."
    )
    second = (
        f"25.4 h adds 1.39 h of work to 24 h of pool, but the {HITS:.0%} warm requests run inside "
        f"those 24 h: {compute * HITS:.2f} h are counted twice, {cold_pool:.2f} h are left. Nor do "
        f"24 h and {HITS:.0%} fit together: one runner that is always there is busy {busy:.1%} of "
        f"the time, so {1 - busy:.0%} of requests find it free. For {HITS:.0%} it is enough to "
        f"keep a runner for {keep_s:.0f} s after a request: {kept:.1f} h, and more in truth "
        "(simulated): a second one, started while the first was busy or starting, is kept too."
    )
    third = (
        f"0.56 h contradicts itself: {HITS:.0%} warm hits at no pool cost. Something holds those "
        f"warm runners: {idle_hours(keep_s):.1f} h of idle GPU. The honest form has no warm hits: "
        f"every request is restored, {restored:.2f} h, and every one waits {1000 * RESTORE_S:g} "
        f"ms. The conclusion stands: {1 - restored / cold:.0%} less than cold starts, "
        f"{1 - restored / cold_pool:.0%} less than the pool."
    )
    fourth = (
        f"Left out: a restore in {1000 * RESTORE_S:g} ms needs the 7 GB of the model in the page "
        f"cache, {MODEL_BYTES / GIB * 24:.0f} GiB-hours of memory a day: {cached:.2f} at "
        f"{prices.gib_hour:g}, as much as {cached / prices.gpu_hour:.2f} GPU-hours at "
        f"{prices.gpu_hour:g}. From a disk of 1 to 3 GB/s it takes 2 to 7 s. Making a GPU context "
        "and moving 7 GB there takes time as well: with rekindle a snapshot is taken before it."
    )
    return [first, second, third, fourth]


def simulate(
    start_s: float, setting: Setting, days: int, settings: PoolSettings | None = None
) -> Outcome:
    """Poisson arrivals at a thousand a day, one GPU a runner; what is held is a GPU alone."""
    figures = Figures(start_s=start_s, cpu_s=0.0)
    function = TracedFunction(
        label="inference",
        levels={Level.WARM: Figures(start_s=0.0, gpus=1.0), Level.NONE: figures},
        settings=settings or PoolSettings(),
    )
    simulation = Simulation(poisson(function, days), setting.make()).run()
    return outcome(setting.label, simulation, Prices())


def poisson(function: TracedFunction, days: int, seed: int = 1) -> Arrivals:
    """Requests at random times of so many days."""
    rng = random.Random(seed)
    times: list[float] = []
    when = rng.expovariate(_RATE)
    while when < days * _DAY_S:
        times.append(when)
        when += rng.expovariate(_RATE)
    arrivals = ((when, 0, SERVICE_S) for when in times)
    return in_memory([function], arrivals, duration_s=days * _DAY_S)


def right(row: Row, tolerance: float = 0.02) -> bool:
    """Whether closed form and simulation say the same."""
    hours = row.simulated_hours
    return hours is None or abs(hours - row.closed) <= tolerance * row.closed


def table(found: Sequence[Row]) -> Table:
    """For the terminal; what the article claims stands out."""
    made = Table(
        title=f"GPU-hours a day: {REQUESTS} requests, {SERVICE_S:g} s each, {COLD_S:g} s cold, "
        f"{1000 * RESTORE_S:g} ms restored",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    made.add_column("what is computed")
    for heading in ("article", "closed form", "simulated", "warm", "p95, ms"):
        made.add_column(heading, justify="right")
    for row in found:
        hours, hits, out = row.simulated_hours, row.hits, row.simulated
        made.add_row(
            row.what,
            "" if row.claimed is None else f"{row.claimed:g}",
            f"{row.closed:.2f}",
            "" if hours is None else f"{hours:.2f}",
            "" if hits is None else f"{hits:.1%}",
            "" if out is None else f"{out.p95_ms:,.0f}",
            style="bold" if row.claimed is not None else "",
        )
    return made


def as_json(found: Sequence[Row]) -> list[dict[str, object]]:
    """For a file."""
    return [
        {
            "what": row.what,
            "claimed_gpu_hours": row.claimed,
            "closed_form_gpu_hours": round(row.closed, 4),
            "simulated_gpu_hours": row.simulated_hours and round(row.simulated_hours, 4),
            "simulated_warm_share": row.hits and round(row.hits, 4),
            "simulated_p95_ms": row.simulated and round(row.simulated.p95_ms, 1),
        }
        for row in found
    ]
