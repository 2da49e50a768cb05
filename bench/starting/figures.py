"""What ``bench/starts.py`` measures. Data, and its JSON.

Each figure is beside its floor of the same run; ratios are of medians. Knows neither how a figure
was taken nor how it is shown.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rekindle.bench.summary import median, percentile
from starting.bare import Took
from starting.shell import ShellTimes


@dataclass(frozen=True, kw_only=True)
class Start:
    """A call that started its runner, and those after it: milliseconds that the caller waited."""

    first_ms: float
    second_ms: float
    later_ms: list[float]
    rested_ms: list[float]  # of calls after a pause each, when nothing is in the caches any more
    phases: dict[str, float]  # of the first


@dataclass
class StartFigures:
    """Starts of one kind by one strategy."""

    kind: str
    strategy: str
    runs: list[Start] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def first_ms(self) -> list[float]:
        """Of each run."""
        return [run.first_ms for run in self.runs]

    @property
    def after(self) -> float:
        """The call after the first in terms of later ones; NaN where nothing was measured."""
        later = median([took for run in self.runs for took in run.later_ms])
        return median([run.second_ms for run in self.runs]) / later

    @property
    def to_rested(self) -> float:
        """The call after the first in terms of those after a pause."""
        rested = median([took for run in self.runs for took in run.rested_ms])
        return median([run.second_ms for run in self.runs]) / rested

    @property
    def phases_ms(self) -> dict[str, float]:
        """Medians of all phases that there were."""
        names = dict.fromkeys(name for run in self.runs for name in run.phases)
        return {name: median([run.phases.get(name, 0.0) for run in self.runs]) for name in names}


@dataclass(frozen=True, kw_only=True)
class CpuFigures:
    """Processor time of a start: milliseconds."""

    kind: str
    strategy: str
    starts: int
    instance_ms: float  # controller, agent, template, runner and all else
    daemons_ms: dict[str, float]  # of it, by role, those for runners that sleep included
    client_ms: float
    holding_ms: float  # taken off: what a runner cost while it slept
    bare_ms: list[float]  # of the floor, in the same stretch of time
    counted: str  # how
    errors: list[str] = field(default_factory=list)

    @property
    def total_ms(self) -> float:
        """Over all processes."""
        return self.instance_ms + self.client_ms

    @property
    def ratio(self) -> float:
        """In terms of the floor. Of means: what is spent is a sum."""
        return self.total_ms / mean(self.bare_ms)


@dataclass
class BurstFigures:
    """Starts that were asked for at the same moment."""

    kind: str
    strategy: str
    at_once: int
    took_ms: list[float] = field(default_factory=list)
    bare_ms: list[float] = field(default_factory=list)  # as many bare forks in a row, to each end
    served: dict[str, int] = field(default_factory=dict)  # by strategy
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rate:
    """Inputs a second, each with a process of its own."""

    form: str  # how it is asked for
    per_second: float
    inputs: int = 0
    errors: tuple[str, ...] = ()
    served: tuple[str, ...] = ()  # the strategies, where they are known


@dataclass
class FreshFigures:
    """A fresh process for every input, in the quickest form of each."""

    cores: int
    seconds: float
    ours: Rate
    pool: Rate
    tried: list[Rate]  # shortly, to find these
    floor_per_s: list[float]

    @property
    def times_pool(self) -> float:
        """Times as many as the pool's; NaN where one has no figure."""
        return self.ours.per_second / self.pool.per_second if self.pool.per_second else math.nan

    @property
    def share_of_floor(self) -> float:
        """Of what as many cores fork of an empty process."""
        return self.ours.per_second / median(self.floor_per_s)


@dataclass(frozen=True, kw_only=True)
class SpareFigures:
    """Memory of a spare that waits."""

    kind: str
    pss_bytes: list[int]  # of each
    added_bytes: float  # what the instance holds more with it, of private and shared memory


@dataclass
class RowFigures:
    """Starts in a row in one instance."""

    strategy: str
    starts: int = 0
    seconds: float = 0.0
    left: dict[str, int] = field(default_factory=dict)  # what there is more of, and how much
    growth_bytes: dict[str, int] = field(default_factory=dict)  # private memory, by role
    errors: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Figures:
    """All that one run of the script measured."""

    machine: dict[str, Any]
    starts: list[StartFigures] = field(default_factory=list)
    bare: list[Took] = field(default_factory=list)
    sleep_ms: list[float] = field(default_factory=list)
    cpu: list[CpuFigures] = field(default_factory=list)
    bursts: list[BurstFigures] = field(default_factory=list)
    fresh: FreshFigures | None = None
    spares: list[SpareFigures] = field(default_factory=list)
    endurance: list[RowFigures] = field(default_factory=list)
    shell: ShellTimes | None = None
    #: Parts that were not done, with the reason.
    undone: list[str] = field(default_factory=list)

    def start(self, kind: str, strategy: str) -> StartFigures:
        """Those of a kind by a strategy, made where there are none yet."""
        for one in self.starts:
            if (one.kind, one.strategy) == (kind, strategy):
                return one
        self.starts.append(StartFigures(kind, strategy))
        return self.starts[-1]

    @property
    def bare_ms(self) -> float:
        """Median of a bare fork, exit and wait; NaN where it was not measured."""
        return median([one.ms for one in self.bare])

    @property
    def errors(self) -> list[str]:
        """Every failure, with where it belongs."""
        found = list(self.undone)
        parts: list[StartFigures | CpuFigures | BurstFigures] = []
        parts += [*self.starts, *self.cpu, *self.bursts]
        for one in parts:
            found += [f"{one.kind}, {one.strategy}: {line}" for line in one.errors]
        if self.fresh is not None:
            ours = self.fresh.ours
            found += [f"a process for each input, {ours.form}: {line}" for line in ours.errors]
        for row in self.endurance:
            found += [f"in a row, {row.strategy}: {line}" for line in row.errors]
        return found

    def to_dict(self) -> dict[str, Any]:
        """The JSON object: every run, with the medians."""
        whole: dict[str, Any] = _plain(dataclasses.asdict(self))
        whole["bare_ms"] = _plain(self.bare_ms)
        for into, one in zip(whole["starts"], self.starts, strict=True):
            into |= _plain({"p50_ms": median(one.first_ms), "second_to_later": one.after})
        for into, cpu in zip(whole["cpu"], self.cpu, strict=True):
            into |= _plain({"total_ms": cpu.total_ms, "to_bare": cpu.ratio})
        for into, burst in zip(whole["bursts"], self.bursts, strict=True):
            into |= _plain(
                {"p50_ms": median(burst.took_ms), "p95_ms": percentile(burst.took_ms, 95)}
            )
        if self.fresh is not None:
            whole["fresh"] |= _plain(
                {"times_pool": self.fresh.times_pool, "of_floor": self.fresh.share_of_floor}
            )
        whole["errors"] = self.errors
        return whole


def mean(values: Iterable[float]) -> float:
    """The mean; NaN of nothing."""
    every = list(values)
    return sum(every) / len(every) if every else math.nan


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 3)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
