"""A histogram of seconds: what Prometheus calls one, as two plain numbers and a list.

Adding is a bisection and two additions, so that it can be done on the way of a result.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

#: Upper bounds in seconds, from a tenth of a millisecond (a fork) to five minutes (a cold start
#: that downloads its model). Three a decade: a quantile is known to within a factor of 2.5.
BOUNDS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)


@dataclass(slots=True)
class Spread:
    """How many values fell below each bound, and their sum."""

    total: float = 0.0
    #: Values by the bound that they fall under; the last one: above all bounds.
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, seconds: float, weight: int = 1) -> None:
        """Count a value, ``weight`` times."""
        self.counts[bisect_left(BOUNDS, seconds)] += weight
        self.total += seconds * weight

    def cumulative(self) -> list[tuple[str, float]]:
        """Bounds as text with the number of values up to them, as Prometheus wants them."""
        made: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip((*map(_text, BOUNDS), "+Inf"), self.counts, strict=True):
            so_far += count
            made.append((bound, float(so_far)))
        return made

    def copy(self) -> Spread:
        """What it is now, for a reader in another thread."""
        return Spread(self.total, list(self.counts))


def _text(bound: float) -> str:
    return repr(bound)
