"""What a benchmark run records, and its JSON.

Data only: no timing, no drawing, no idea of how a call is made. The JSON may gain keys, and those
that are there keep their meaning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rekindle.bench.summary import median, percentile


@dataclass(frozen=True, kw_only=True)
class Run:
    """One measured call; ``total_ms`` is what the caller waited, ``.remote()`` to its return."""

    total_ms: float
    phases: dict[str, float]  # milliseconds by phase
    pss_bytes: int = 0  # of the runner after the call; 0 is unknown
    runner_id: str = ""

    @property
    def explained(self) -> float:
        """The part of the total that the phases explain: 1.0 is all of it."""
        return sum(self.phases.values()) / self.total_ms if self.total_ms > 0 else 1.0


@dataclass(kw_only=True)
class StrategyResult:
    """All runs of one strategy. ``errors`` has one line for each run that failed."""

    strategy: str
    runs: list[Run] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def p50_ms(self) -> float:
        """Median of what the caller waited, in milliseconds."""
        return percentile([run.total_ms for run in self.runs], 50)

    @property
    def p95_ms(self) -> float:
        """95th percentile of what the caller waited, in milliseconds."""
        return percentile([run.total_ms for run in self.runs], 95)

    @property
    def pss_bytes(self) -> int:
        """Median proportional set size of the runners; 0 where none was measured."""
        known = [run.pss_bytes for run in self.runs if run.pss_bytes > 0]
        return int(median(known)) if known else 0

    def phases_ms(self) -> dict[str, float]:
        """Phases of the typical run: the one (or the mean of the two) in the middle by total.

        Medians taken phase by phase belong to different runs and do not add up; these do.
        """
        if not self.runs:
            return {}
        ordered = sorted(self.runs, key=lambda run: run.total_ms)
        middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
        names = dict.fromkeys(name for run in middle for name in run.phases)
        return {
            name: sum(run.phases.get(name, 0.0) for run in middle) / len(middle) for name in names
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of one strategy."""
        return {
            "strategy": self.strategy,
            "p50_ms": round(self.p50_ms, 3) if self.runs else None,
            "p95_ms": round(self.p95_ms, 3) if self.runs else None,
            "pss_bytes": self.pss_bytes,
            "phases_ms": {name: round(ms, 3) for name, ms in self.phases_ms().items()},
            "runs": [
                {
                    "total_ms": round(run.total_ms, 3),
                    "phases": {name: round(ms, 3) for name, ms in run.phases.items()},
                    "pss_bytes": run.pss_bytes,
                    "runner_id": run.runner_id,
                }
                for run in self.runs
            ],
            "errors": list(self.errors),
        }


@dataclass(kw_only=True)
class Report:
    """One benchmark: a function, a machine, and a result for each strategy."""

    function: str
    machine: dict[str, Any]
    results: list[StrategyResult]

    def result(self, strategy: str) -> StrategyResult | None:
        """The result of ``strategy``, or None where it was not asked for."""
        return next((r for r in self.results if r.strategy == strategy), None)

    def speedup(self, strategy: str) -> float | None:
        """How many times faster than cold, by medians; None where one of the two is missing."""
        cold, other = self.result("cold"), self.result(strategy)
        if cold is None or other is None or not cold.runs or not other.runs:
            return None
        return cold.p50_ms / other.p50_ms if other.p50_ms > 0 else None

    @property
    def errors(self) -> list[str]:
        """Every failed run, as ``strategy: reason``."""
        return [f"{r.strategy}: {line}" for r in self.results for line in r.errors]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the report."""
        results = []
        for result in self.results:
            raw = result.to_dict()
            speedup = self.speedup(result.strategy)
            raw["times_faster_than_cold"] = None if speedup is None else round(speedup, 2)
            results.append(raw)
        return {"machine": self.machine, "function": self.function, "results": results}


def write_json(path: Path, figures: dict[str, Any]) -> None:
    """Write figures to ``path``, making its directory where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
