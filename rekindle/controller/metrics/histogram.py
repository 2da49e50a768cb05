"""A histogram of durations: bounds in seconds, counts by bound, and the sum.

Adding is a bisection and three additions, so that it can be done on the way of a result. Prometheus
gets the counts up to each bound; the scaler, which compares the present with the past, uses finer
bounds and lets old values fade.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Upper bounds of what Prometheus gets, from a tenth of a millisecond (a fork) to five minutes (a
#: cold start that downloads its model). Three a decade: a quantile is known to within 2.5 times.
BOUNDS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
#: Eight bounds a factor of ten, from ten microseconds to a day.
FINE_BOUNDS = tuple(10 ** (i / 8) for i in range(-40, 40))
#: Where values fade: beyond so many the old ones count half.
_FULL = 20_000


@dataclass(slots=True)
class Histogram:
    """Durations in seconds. Counters of Prometheus must not ``fade``."""

    bounds: Sequence[float] = BOUNDS
    fade: bool = False
    count: float = 0.0
    total: float = 0.0
    #: Values by the place of the bound that they fall under; the last place is above all bounds.
    buckets: dict[int, float] = field(default_factory=dict)

    def add(self, seconds: float, weight: float = 1.0) -> None:
        """Count a value, ``weight`` times."""
        place = bisect_left(self.bounds, seconds)
        self.buckets[place] = self.buckets.get(place, 0.0) + weight
        self.count += weight
        self.total += seconds * weight
        if self.fade and self.count > _FULL:
            self.count, self.total = self.count / 2, self.total / 2
            self.buckets = {p: w / 2 for p, w in self.buckets.items() if w > 0.01}

    @property
    def mean_s(self) -> float:
        """0 where there is none."""
        return self.total / self.count if self.count else 0.0

    def quantile_s(self, share: float) -> float:
        """To within half the distance of the bounds; 0 where there is none."""
        left = share * sum(self.buckets.values())
        for place in sorted(self.buckets):
            left -= self.buckets[place]
            if left <= 1e-9:
                high = self.bounds[min(place, len(self.bounds) - 1)]
                low = self.bounds[place - 1] if 0 < place <= len(self.bounds) else high
                return math.sqrt(low * high)
        return 0.0

    def cumulative(self) -> list[tuple[str, float]]:
        """Bounds as text with the number of values up to them, as Prometheus wants them."""
        made: list[tuple[str, float]] = []
        so_far = 0.0
        for place, bound in enumerate((*map(repr, self.bounds), "+Inf")):
            so_far += self.buckets.get(place, 0.0)
            made.append((bound, so_far))
        return made

    def copy(self) -> Histogram:
        """What it is now, for a reader in another thread."""
        return Histogram(self.bounds, self.fade, self.count, self.total, dict(self.buckets))

    def join(self, other: Histogram) -> None:
        """Count what the other, of the same bounds, has counted, too."""
        self.count += other.count
        self.total += other.total
        for place, weight in other.buckets.items():
            self.buckets[place] = self.buckets.get(place, 0.0) + weight

    def to_list(self) -> list[object]:
        """For JSON."""
        buckets = {str(place): round(weight, 3) for place, weight in self.buckets.items()}
        return [round(self.count, 3), self.total, buckets]


def service_times(raw: Sequence[object] | None = None) -> Histogram:
    """How long inputs run, empty or as ``to_list`` made it: fine bounds, and old values fade."""
    made = Histogram(FINE_BOUNDS, fade=True)
    if raw is not None:
        count, total, buckets = raw
        assert isinstance(count, int | float) and isinstance(total, int | float)
        assert isinstance(buckets, dict)
        made.count, made.total = float(count), float(total)
        made.buckets = {int(place): float(weight) for place, weight in buckets.items()}
    return made
