"""Starts of runners, as agents tell of them in their heartbeats.

A heartbeat repeats what it said before, as any of them may be lost; each start has a number that
grows, so that each counts once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rekindle.controller.metrics.reasons import class_of
from rekindle.wire.phases import Strategy

_STRATEGIES = {strategy.value for strategy in Strategy}


@dataclass(frozen=True, slots=True)
class Start:
    """One start, or one that failed."""

    number: int
    function_id: str
    runner_id: str
    strategy: str
    ok: bool
    seconds: float
    ended_at: float  # CLOCK_REALTIME, seconds
    phases: Mapping[str, float] = field(default_factory=dict)  # seconds
    reason: str = ""
    #: (strategy, reason) of each step of the ladder that was tried before and failed.
    passed_over: tuple[tuple[str, str], ...] = ()

    @property
    def failures(self) -> Iterator[tuple[str, str]]:
        """(strategy, class of the reason) of what failed on the way."""
        for strategy, reason in self.passed_over:
            yield strategy, class_of(reason)
        if not self.ok:
            yield self.strategy, class_of(self.reason)


def read(raw: object, after: int) -> Iterator[Start]:
    """The starts of a heartbeat behind number ``after``. What cannot be read is left out."""
    if not isinstance(raw, list):
        return
    for entry in raw:
        if isinstance(entry, dict):
            start = _start(entry)
            if start is not None and start.number > after:
                yield start


def _start(raw: Mapping[str, Any]) -> Start | None:
    try:
        strategy, error = (
            str(raw.get("strategy", "")),
            str(raw.get("error") or raw.get("reason", "")),
        )
        told = dict(raw.get("phases_ms") or {})
        phases = {str(name): float(ms) / 1000 for name, ms in told.items()}
        seconds = sum(phases.values())
        start = Start(
            number=int(raw["seq"]),
            function_id=str(raw["function_id"]),
            runner_id=str(raw.get("runner_id", "")),
            # The last step of the ladder is the one that fails.
            strategy=strategy if strategy in _STRATEGIES else Strategy.COLD.value,
            ok=not error,
            seconds=seconds,
            ended_at=float(raw.get("at") or float(raw.get("at_ns", 0)) / 1e9 + seconds),
            phases=phases,
            reason=error,
            passed_over=tuple(passed_over(raw.get("notes") or ())),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return start if math.isfinite(seconds) else None


def passed_over(notes: Iterable[object]) -> Iterator[tuple[str, str]]:
    """Of a runner's notes, those that say that a step of the ladder was passed over."""
    for note in notes:
        strategy, found, reason = str(note).partition(" passed over: ")
        if found and strategy in _STRATEGIES:
            yield strategy, reason
