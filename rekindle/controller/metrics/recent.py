"""The last minute of one function: calls a second, and how long calls and starts took.

For people who look at it now (``rekindle top``); what is kept for longer is Prometheus's.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from rekindle.wire import rekindle_pb2 as pb

#: How far back ``top`` looks for durations, in seconds.
WINDOW_S = 60.0
#: Over how many seconds a rate is taken.
RATE_S = 10
_KEPT = 128  # durations of a function, the newest


@dataclass(slots=True)
class Recent:
    """Times are monotonic seconds; durations are seconds."""

    _seconds: deque[list[int]] = field(default_factory=lambda: deque(maxlen=RATE_S + 1))
    _calls: deque[tuple[float, float, int]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _starts: deque[tuple[float, float, str]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def ended(self, now: float, count: int) -> None:
        """So many inputs have a result."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += count
        else:
            self._seconds.append([second, count])

    def took(self, now: float, seconds: float, weight: int) -> None:
        """``weight`` inputs took so long, from their submission to their result."""
        self._calls.append((now, seconds, weight))

    def started(self, now: float, seconds: float, strategy: str) -> None:
        """A runner was started."""
        self._starts.append((now, seconds, strategy))

    def rate(self, now: float) -> float:
        """Inputs a second over the last ten seconds, this one left out."""
        this = int(now)
        seen = sum(count for second, count in self._seconds if this - RATE_S <= second < this)
        return seen / RATE_S

    def report(self, now: float) -> pb.LastMinute:
        """For the status: only what is known."""
        made = pb.LastMinute()
        rate = self.rate(now)
        if rate:
            made.calls_per_s = round(rate, 2)
        since = now - WINDOW_S
        calls = [(seconds, weight) for at, seconds, weight in self._calls if at >= since]
        if calls:
            made.call_ms.CopyFrom(_percentiles(calls))
        starts = [(seconds, strategy) for at, seconds, strategy in self._starts if at >= since]
        if starts:
            made.start_ms.CopyFrom(_percentiles((seconds, 1) for seconds, _ in starts))
            made.starts.update(Counter(strategy for _, strategy in starts))
        return made


def _percentiles(values: Iterable[tuple[float, int]]) -> pb.Percentiles:
    ordered = sorted(values)
    total = sum(weight for _, weight in ordered)
    p50, p95 = (round(1000 * _at(ordered, total * share), 3) for share in (0.5, 0.95))
    return pb.Percentiles(p50=p50, p95=p95)


def _at(ordered: list[tuple[float, int]], rank: float) -> float:
    so_far = 0
    for seconds, weight in ordered:
        so_far += weight
        if so_far >= rank:
            return seconds
    return ordered[-1][0]
