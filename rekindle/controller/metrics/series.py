"""What is counted of each function, by the name that users know it by.

Bounded: only functions of open apps have series of their own (and those of apps that closed a
moment ago, so that one more scrape sees their last counts), and only so many of them; the others
are counted together. Knows nothing of Prometheus.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from rekindle.controller.metrics.histogram import Histogram

#: The series of all functions that have none of their own.
OTHERS = "(others)"
#: What is left of functions whose app is closed.
CLOSED = "(closed)"
#: How long the series of a function stay after its app was closed, in seconds.
KEPT_S = 300.0


KeyT = TypeVar("KeyT")
Histograms = defaultdict[KeyT, Histogram]


@dataclass(slots=True, eq=False)
class Series:
    """The counts of one function; every number only grows."""

    label: str
    #: Status of the result, in lower case -> inputs.
    calls: Counter[str] = field(default_factory=Counter)
    call_seconds: Histogram = field(default_factory=Histogram)
    #: (phase, strategy) -> seconds.
    phases: Histograms[tuple[str, str]] = field(default_factory=lambda: defaultdict(Histogram))
    #: Strategy -> seconds from the order to a runner that is ready.
    starts: Histograms[str] = field(default_factory=lambda: defaultdict(Histogram))
    #: (strategy, class of the reason) -> starts that failed or were passed over.
    failed_starts: Counter[tuple[str, str]] = field(default_factory=Counter)
    direct_calls: int = 0
    direct_seconds: float = 0.0  # that runners spent on them
    retries: int = 0
    redeliveries: int = 0
    ids: set[str] = field(default_factory=set)  # functions that are counted here
    closed_at: float = 0.0  # since when none of them is open; 0: one is


class Book:
    """The series of all functions."""

    def __init__(self, limit: int, label_of: Callable[[str], str | None]) -> None:
        self._limit = limit
        self._label_of = label_of
        self._by_id: dict[str, Series] = {}
        self._by_label: dict[str, Series] = {}

    def of(self, function_id: str) -> Series | None:
        """Where a function is counted; None for one that was never open here."""
        found = self._by_id.get(function_id)
        if found is not None:
            return found
        label = self._label_of(function_id)
        if label is None:
            return None
        series = self._by_label.get(label)
        if series is None:
            others = self._by_label.get(OTHERS)
            own = len(self._by_label) - (others is not None)
            series = others if own >= self._limit else Series(label)
            if series is None:
                series = Series(OTHERS)
            self._by_label[series.label] = series
        series.ids.add(function_id)
        series.closed_at = 0.0
        self._by_id[function_id] = series
        return series

    def of_label(self, label: str) -> Series | None:
        """Where the functions of a name are counted; None where none was open."""
        return self._by_label.get(label) or self._by_label.get(OTHERS)

    def tidy(self, now: float) -> None:
        """Forget functions whose app is closed, and series that no one has needed for a while."""
        gone = [one for one in self._by_id if self._label_of(one) is None]
        for function_id in gone:
            series = self._by_id[function_id]
            if len(series.ids) > 1 or series.label == OTHERS:
                series.ids.discard(function_id)
                del self._by_id[function_id]
            elif not series.closed_at:
                series.closed_at = now
            elif now - series.closed_at > KEPT_S:
                del self._by_id[function_id]
                self._by_label.pop(series.label, None)

    def __iter__(self) -> Iterator[Series]:
        return iter(self._by_label.values())
