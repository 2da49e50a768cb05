"""How many inputs of one pool come at once, and how often: what further spares are worth.

Inputs that come within the time that a few forks take are one burst: the spares that its first
inputs take are not there again for its last ones. Counts are halved now and then: what was long ago
counts less. Knows nothing of prices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

#: A burst is what comes within so long of its first input. A fork takes about a third of it.
AT_ONCE_S = 0.02
#: Larger bursts are counted as this large.
MOST = 8
#: Counts are halved when there are this many.
_HALVED_AT = 512


@dataclass(slots=True)
class Bursts:
    """The bursts so far."""

    total: int = 0  # never halved: how many there were
    #: By size, from 1.
    sizes: list[float] = field(default_factory=lambda: [0.0] * MOST)
    _weight: float = 0.0
    _since: float = math.nan
    _began: float = -math.inf
    _size: int = 0

    def arrived(self, now: float) -> None:
        """One more input; well under a microsecond."""
        if now - self._began <= AT_ONCE_S:
            self._size += 1
            return
        if self._size:
            self.sizes[min(self._size, MOST) - 1] += 1.0
            self._weight += 1.0
            if self._weight >= _HALVED_AT:
                self._halve(now)
        else:
            self._since = now
        self.total += 1
        self._began, self._size = now, 1

    def _halve(self, now: float) -> None:
        self.sizes = [count / 2 for count in self.sizes]
        self._weight /= 2
        self._since = (self._since + now) / 2

    def rate(self, size: int, now: float) -> float:
        """Bursts of this size or more, a second; the one that is under way is left out."""
        lasted = now - self._since
        return math.fsum(self.sizes[size - 1 :]) / lasted if lasted > 0 else 0.0
