"""Starts of runners, as agents tell of them in their heartbeats.

A heartbeat repeats what it said before, as any of them may be lost; each start has a number that
grows, so that each counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from rekindle.controller.metrics.reasons import class_of
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy

_STRATEGIES = {strategy.value for strategy in Strategy}


@dataclass(frozen=True, slots=True)
class Start:
    """One start, or one that failed."""

    number: int
    function_id: str
    params: str  # digest of the parameters
    runner_id: str
    strategy: str
    ok: bool
    seconds: float
    ended_at: float  # CLOCK_REALTIME, seconds
    phases: Mapping[str, float] = field(default_factory=dict)  # seconds
    reason: str = ""
    #: (strategy, reason) of each step of the ladder that was tried before and failed.
    passed_over: tuple[tuple[str, str], ...] = ()
    from_disk: bool = False  # of a restore: its pages were not in the page cache

    @property
    def failures(self) -> Iterator[tuple[str, str]]:
        """(strategy, class of the reason) of what failed on the way."""
        for strategy, reason in self.passed_over:
            yield strategy, class_of(reason)
        if not self.ok:
            yield self.strategy, class_of(self.reason)


def read(starts: Iterable[pb.RunnerStart], after: int) -> Iterator[Start]:
    """The starts of a heartbeat behind number ``after``, in order."""
    for one in starts:
        if one.seq > after:
            after = one.seq
            yield _start(one)


def _start(told: pb.RunnerStart) -> Start:
    phases = {name: ms / 1000 for name, ms in told.phases_ms.items()}
    seconds = sum(phases.values())
    return Start(
        number=told.seq,
        function_id=told.function_id,
        params=told.params,
        runner_id=told.runner_id,
        # The last step of the ladder is the one that fails.
        strategy=told.strategy or Strategy.COLD.value,
        ok=not told.error,
        seconds=seconds,
        ended_at=told.at_ns / 1e9 + seconds,
        phases=phases,
        reason=told.error,
        passed_over=tuple(passed_over(told.notes)),
        from_disk=told.from_disk,
    )


def passed_over(notes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Of a runner's notes, those that say that a step of the ladder was passed over."""
    for note in notes:
        strategy, found, reason = note.partition(" passed over: ")
        if found and strategy in _STRATEGIES:
            yield strategy, reason
