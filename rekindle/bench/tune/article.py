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
    simulated: Outcome | None = None

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


def _started(start_s: float) -> float:
    """GPU-hours a day where every request has a start of its own and nothing is kept."""
    return REQUESTS * (SERVICE_S + start_s) / 3600


_COMPUTE = _started(0.0)
_MISSES = 1 - HITS
_KEEP_S = keep_for(HITS)
#: A pool of one for 24 h, with its misses; runners that make 90 % warm, without their misses.
_POOL = 24 + _MISSES * _started(COLD_S)
_KEPT = idle_hours(_KEEP_S) + _COMPUTE


def rows(days: int | None = None) -> list[Row]:
    """All figures, the article's first of each."""

    def fixed(start_s: float, keep_s: float = 0.0, least: int = 0) -> Outcome:
        settings = PoolSettings(min_containers=least)
        return simulate(start_s, Setting("fixed", {"keep_s": keep_s}), days or DAYS, settings)

    ours = costs.RESTORE_S
    our_name = f"rekindle's restore ({1000 * ours:.0f} ms, before any GPU context), nothing kept"
    aware = simulate(ours, Setting("snapshot-aware", {"target_ms": 500.0}), days or DAYS)
    busy_while_starting = REQUESTS * _RATE * SERVICE_S * COLD_S / 3600
    kept = f"90 % warm by keeping a runner for {_KEEP_S:.0f} s"
    added = _POOL + _COMPUTE * HITS
    restored = _COMPUTE + _MISSES * REQUESTS * RESTORE_S / 3600
    return [
        Row("every request cold, nothing kept", 8.9, _started(COLD_S), fixed(COLD_S)),
        Row("90 % warm, pool of one for 24 h, as added up", 25.4, added),
        Row("... without counting the warm requests twice", None, _POOL),
        Row(
            "one runner always there, more when it is busy",
            None,
            24 + busy_while_starting,
            fixed(COLD_S, least=1),
        ),
        Row(kept, None, _KEPT + _MISSES * REQUESTS * COLD_S / 3600, fixed(COLD_S, _KEEP_S)),
        Row("snapshots, 90 % warm, no pool cost", 0.56, restored),
        Row(
            "... with the runners that make 90 % warm",
            None,
            _KEPT + _MISSES * REQUESTS * RESTORE_S / 3600,
            fixed(RESTORE_S, _KEEP_S),
        ),
        Row(
            "... or nothing kept, every request restored",
            None,
            _started(RESTORE_S),
            fixed(RESTORE_S),
        ),
        Row(our_name, None, _started(ours), fixed(ours)),
        Row("the same, snapshot-aware", None, _started(ours), aware),
    ]


def verdicts(prices: Prices) -> list[str]:
    """Where the example is right, and where it is off."""
    busy = _RATE * SERVICE_S
    kept = _KEPT + _MISSES * REQUESTS * COLD_S / 3600
    cold, restored = _started(COLD_S), _started(RESTORE_S)
    cached = MODEL_BYTES / GIB * 24 * prices.gib_hour
    first = (
        f"8.9 h is right for what it describes: {REQUESTS} x {SERVICE_S + COLD_S:g} s = "
        f"{cold:.2f} h. Simulated it is a little less: a request that comes while another one's "
        "runner starts takes whichever is ready first, and needs no start of its own."
    )
    second = (
        f"25.4 h adds 1.39 h of work to 24 h of pool, but the {HITS:.0%} warm requests run inside "
        f"those 24 h: {_COMPUTE * HITS:.2f} h are counted twice, {_POOL:.2f} h are left. Nor do "
        f"24 h and {HITS:.0%} fit together: one runner that is always there is busy {busy:.1%} of "
        f"the time, so {1 - busy:.0%} of requests find it free. For {HITS:.0%} it is enough to "
        f"keep a runner for {_KEEP_S:.0f} s after a request: {kept:.1f} h, and more in truth "
        "(simulated): a second one, started while the first was busy or starting, is kept too."
    )
    third = (
        f"0.56 h contradicts itself: {HITS:.0%} warm hits at no pool cost. Something holds those "
        f"warm runners: {idle_hours(_KEEP_S):.1f} h of idle GPU. The honest form has no warm hits: "
        f"every request is restored, {restored:.2f} h, and every one waits {1000 * RESTORE_S:g} "
        f"ms. The conclusion stands: {1 - restored / cold:.0%} less than cold starts, "
        f"{1 - restored / _POOL:.0%} less than the pool."
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
    return outcome(simulation, Prices())


def poisson(function: TracedFunction, days: int) -> Arrivals:
    """Requests at random times of so many days."""
    rng = random.Random(1)
    arrivals: list[tuple[float, int, float]] = []
    when = rng.expovariate(_RATE)
    while when < days * _DAY_S:
        arrivals.append((when, 0, SERVICE_S))
        when += rng.expovariate(_RATE)
    return in_memory([function], arrivals, duration_s=days * _DAY_S)


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
