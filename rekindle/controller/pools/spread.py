"""How long things take: mean and quantiles in a few hundred bytes, that old values fade from."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field

#: Eight bounds a factor of ten, from ten microseconds to a day.
_BOUNDS = [10 ** (i / 8) for i in range(-40, 40)]
#: Beyond so many values the old ones count half.
_FULL = 20_000


@dataclass(slots=True)
class Service:
    """Durations in seconds."""

    count: float = 0.0
    total: float = 0.0
    _buckets: dict[int, float] = field(default_factory=dict)

    def add(self, seconds: float, weight: float = 1.0) -> None:
        """``weight`` values."""
        place = bisect.bisect_left(_BOUNDS, seconds)
        self._buckets[place] = self._buckets.get(place, 0.0) + weight
        self.count += weight
        self.total += seconds * weight
        if self.count > _FULL:
            self.count, self.total = self.count / 2, self.total / 2
            self._buckets = {p: w / 2 for p, w in self._buckets.items() if w > 0.01}

    @property
    def mean_s(self) -> float:
        """0 where there is none."""
        return self.total / self.count if self.count else 0.0

    def quantile_s(self, share: float) -> float:
        """To within a sixth of its value; 0 where there is none."""
        left = share * sum(self._buckets.values())
        for place in sorted(self._buckets):
            left -= self._buckets[place]
            if left <= 1e-9:
                high = _BOUNDS[min(place, len(_BOUNDS) - 1)]
                low = _BOUNDS[place - 1] if 0 < place <= len(_BOUNDS) else high
                return math.sqrt(low * high)
        return 0.0

    def join(self, other: Service) -> None:
        """Count what the other has counted, too."""
        self.count += other.count
        self.total += other.total
        for place, weight in other._buckets.items():
            self._buckets[place] = self._buckets.get(place, 0.0) + weight

    def to_list(self) -> list[object]:
        """For JSON."""
        buckets = {str(place): round(weight, 3) for place, weight in self._buckets.items()}
        return [round(self.count, 3), self.total, buckets]

    @classmethod
    def from_list(cls, raw: list[object]) -> Service:
        """The inverse of ``to_list``."""
        count, total, buckets = raw
        assert isinstance(count, (int, float)) and isinstance(total, (int, float))
        assert isinstance(buckets, dict)
        return cls(float(count), float(total), {int(p): float(w) for p, w in buckets.items()})
