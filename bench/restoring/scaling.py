"""What ``bench/restore.py`` measures: starts against the size of the model. Data and its JSON.

Medians of runs that were interleaved; ratios only between figures of one block of one size.
Knows neither how a figure was taken nor how it is shown.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rekindle.bench.records import StrategyResult
from rekindle.bench.summary import median, percentile
from rekindle.wire.phases import Phase

# Names of the series of a size. What is called "small" is the smallest model, measured again
# with each size; what is called "floor" is a parked Python process without any model.
RESTORE = "restore"
COPIED = "restore, copied"
COLD = "cold"
FORK = "fork"
FLOOR = "restore, no model"
FLOOR_FORK = "fork, no model"
SMALL = "restore, smallest"
SMALL_FORK = "fork, smallest"
WARM = "warm, no model"
BARE_FORK = "os.fork of an empty Python"

#: Phases of a call that are no part of its runner's start.
_ON_THE_WAY = (Phase.QUEUE, Phase.IMAGE, Phase.STORE_RESULT)

# Names of the machine's limits.
EXEC = "fork and exec of /bin/true"
SLEEP = "CRIU restores sleep, by its command line"
HUGE = "os.fork, memory in huge pages"
SMALL_PAGES = "os.fork, memory in 4 KiB pages"


@dataclass(frozen=True, kw_only=True)
class SnapshotFigures:
    """How a snapshot was made. Milliseconds and bytes; NaN and 0 for what is not known."""

    boot_ms: float  # of the template that was frozen
    dump_ms: float
    map_ms: float
    commit_ms: float
    total_ms: float
    page_bytes: int  # of memory, in the page files
    disk_bytes: int  # that the snapshot takes
    mapping_bytes: int  # of it, what the mapped images take in addition
    mapped: bool
    note: str = ""  # how it is mapped, or why it is not
    #: Calls before, during and after the dump, by strategy: milliseconds.
    before: dict[str, list[float]] = field(default_factory=dict)
    during: dict[str, list[float]] = field(default_factory=dict)
    after: dict[str, list[float]] = field(default_factory=dict)


@dataclass(kw_only=True)
class SizeFigures:
    """One size of model."""

    gigabytes: float  # as asked for
    model_bytes: int
    results: dict[str, StrategyResult]
    snapshot: SnapshotFigures | None = None
    #: Forks of a process that holds as much and no more: name -> milliseconds.
    forks: dict[str, list[float]] = field(default_factory=dict)

    def p50_ms(self, name: str) -> float:
        """Median of a series; NaN where it was not measured."""
        result = self.results.get(name)
        return result.p50_ms if result is not None and result.runs else math.nan

    def phase_ms(self, name: str, phase: str) -> float:
        """A phase of the median run of a series; NaN where there is none."""
        result = self.results.get(name)
        return result.phases_ms().get(phase, math.nan) if result is not None else math.nan

    def start_ms(self, name: str) -> float:
        """Median of the start alone: from its order on the node to the first completed no-op.

        Without the call's way to the node and its result's way back, which a bare fork has not.
        """
        result = self.results.get(name)
        return median(
            [
                sum(took for phase, took in run.phases.items() if phase not in _ON_THE_WAY)
                for run in (result.runs if result is not None else [])
            ]
        )

    def ratio(self, name: str, other: str) -> float:
        """How many times longer ``name`` takes than ``other``; NaN where one is missing."""
        one, two = self.p50_ms(name), self.p50_ms(other)
        return one / two if two > 0 else math.nan


@dataclass(frozen=True, kw_only=True)
class SharedFigures:
    """Memory of runners that were restored from one snapshot and have read all of it."""

    model_bytes: int
    alone_pss_bytes: int  # of one runner, with no other there
    pss_bytes: list[int]  # of each, while all are there

    @property
    def ratio(self) -> float:
        """All of them together, in terms of one."""
        return sum(self.pss_bytes) / self.alone_pss_bytes if self.alone_pss_bytes else math.nan


@dataclass(frozen=True, kw_only=True)
class ColdCacheFigures:
    """First answers after the page cache was dropped, of calls that touch a tenth of a model."""

    model_bytes: int
    touched_bytes: int
    pattern: str  # "contiguous" or "scattered"
    warm_ms: list[float]  # for comparison: the page cache as it is
    with_ms: list[float]  # with the recorded working set
    without_ms: list[float]
    read_ms: list[float]  # reading as many bytes of the page file in sequence
    recorded_bytes: int  # in the working set; 0 where none was recorded


@dataclass(frozen=True, kw_only=True)
class EmbedFigures:
    """``examples/embed.py`` on a node that has just come up: milliseconds by call."""

    mode: str
    first_ms: list[float]
    first_execute_ms: list[float]
    second_ms: list[float]
    again_ms: list[float]  # later restores on the same node, first call each


@dataclass(frozen=True, kw_only=True)
class AtOnceFigures:
    """Starts that were asked for at the same moment."""

    what: str
    strategy: str
    at_once: int
    took_ms: list[float]
    cpu_ms: float  # of all of the instance's processes, a start
    errors: list[str] = field(default_factory=list)

    @property
    def starts(self) -> int:
        """Starts that were asked for."""
        return len(self.took_ms) + len(self.errors)


@dataclass(kw_only=True)
class Figures:
    """All that one run of the script measured."""

    machine: dict[str, Any]
    sizes: list[SizeFigures] = field(default_factory=list)
    shared: SharedFigures | None = None
    cold_cache: list[ColdCacheFigures] = field(default_factory=list)
    embed: list[EmbedFigures] = field(default_factory=list)
    at_once: list[AtOnceFigures] = field(default_factory=list)
    #: What the machine can do at best: name -> milliseconds.
    limits: dict[str, list[float]] = field(default_factory=dict)

    @property
    def largest(self) -> SizeFigures | None:
        """The largest model that was measured."""
        return max(self.sizes, key=lambda size: size.gigabytes, default=None)

    def size(self, gigabytes: float) -> SizeFigures | None:
        """The figures of one size."""
        return next((size for size in self.sizes if size.gigabytes == gigabytes), None)

    @property
    def errors(self) -> list[str]:
        """Every failed run, with where it belongs."""
        lines = [
            f"{size.gigabytes:g} GB, {name}: {line}"
            for size in self.sizes
            for name, result in size.results.items()
            for line in result.errors
        ]
        return lines + [
            f"{group.at_once} at once, {group.what}, {group.strategy}: {line}"
            for group in self.at_once
            for line in group.errors
        ]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object: every run of every series, medians with them."""
        return {
            "machine": self.machine,
            "sizes": [_size(size) for size in self.sizes],
            "shared": _plain(self.shared) | {"ratio": _number(self.shared.ratio)}
            if self.shared
            else None,
            "cold_cache": [_plain(one) for one in self.cold_cache],
            "embed": [_plain(one) for one in self.embed],
            "at_once": [
                _plain(one)
                | {
                    "p50_ms": _number(median(one.took_ms)),
                    "p95_ms": _number(percentile(one.took_ms, 95)),
                }
                for one in self.at_once
            ],
            "limits": {
                name: {"p50_ms": _number(median(values)), "runs_ms": _numbers(values)}
                for name, values in self.limits.items()
            },
            "errors": self.errors,
        }


def _size(size: SizeFigures) -> dict[str, Any]:
    return {
        "gigabytes": size.gigabytes,
        "model_bytes": size.model_bytes,
        "series": {name: result.to_dict() for name, result in size.results.items()},
        "snapshot": _plain(size.snapshot) if size.snapshot else None,
        "forks": {
            name: {"p50_ms": _number(median(values)), "runs_ms": _numbers(values)}
            for name, values in size.forks.items()
        },
    }


def _plain(figures: Any) -> dict[str, Any]:
    return {key: _rounded(value) for key, value in dataclasses.asdict(figures).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def _number(value: float) -> float | None:
    # JSON has no NaN.
    return None if math.isnan(value) else round(value, 3)


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [_number(value) for value in values]
