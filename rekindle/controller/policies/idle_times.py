"""The quiet times of one pool, and what they say of when the next input comes.

A histogram with bins of half an octave, from a sixteenth of a second to three days; each bin also
keeps the shortest and the longest quiet time in it. So a timer, whose quiet times differ by seconds
in an hour, is seen as exactly as it fires, and a heavy tail costs no more room. Counts are halved
now and then: what was long ago counts less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_FIRST_S = 2.0**-4
_PER_OCTAVE = 2
_BINS = 44
_LAST_S = _FIRST_S * 2.0 ** (_BINS / _PER_OCTAVE)
#: Counts are halved when there are this many.
_HALVED_AT = 512
#: From this many quiet times in a bin, the stretch that they lie in is looked at alone.
_NARROW_FROM = 4
#: That stretch is widened on both sides by this share of itself, and by so many seconds.
_WIDER, _WIDER_S = 0.25, 0.25


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of quiet time, in which the next input comes at an even rate."""

    begins_s: float
    ends_s: float
    #: Share of all quiet times that are longer than its beginning.
    survivors: float
    #: Share of all that end in it.
    ending: float

    @property
    def expected_s(self) -> float:
        """Mean time that a quiet time spends in it."""
        return (self.survivors - self.ending / 2) * (self.ends_s - self.begins_s)


@dataclass(slots=True)
class IdleTimes:
    """The quiet times so far."""

    total: int = 0  # never halved: how many there were
    counts: list[float] = field(default_factory=lambda: [0.0] * _BINS)
    shortest: list[float] = field(default_factory=lambda: [math.inf] * _BINS)
    longest: list[float] = field(default_factory=lambda: [0.0] * _BINS)
    weight: float = 0.0

    def add(self, gap_s: float) -> None:
        """One more; about a microsecond."""
        place = 0
        gap_s = min(gap_s, _LAST_S - 1.0)
        if gap_s > _FIRST_S:
            place = min(int(_PER_OCTAVE * math.log2(gap_s / _FIRST_S)), _BINS - 1)
        self.total += 1
        self.weight += 1.0
        self.counts[place] += 1.0
        if gap_s < self.shortest[place]:
            self.shortest[place] = gap_s
        if gap_s > self.longest[place]:
            self.longest[place] = gap_s
        if self.weight >= _HALVED_AT:
            self._halve()

    def _halve(self) -> None:
        self.counts = [count / 2 for count in self.counts]
        self.weight /= 2
        for place, count in enumerate(self.counts):
            if count < 1.0:
                self.weight -= count
                self.counts[place] = 0.0
                self.shortest[place], self.longest[place] = math.inf, 0.0

    def segments(self) -> list[Segment]:
        """The quiet time from 0 on, cut where the rate changes.

        One quiet time more than was seen is spread evenly over all bins: nothing is impossible.
        """
        stretches: list[tuple[float, float, float]] = []  # (begins, ends, quiet times)
        begins = 0.0
        spread = 1.0 / _BINS
        for place, count in enumerate(self.counts):
            ends = _FIRST_S * 2.0 ** ((place + 1) / _PER_OCTAVE)
            if count < _NARROW_FROM:
                stretches.append((begins, ends, count + spread))
            else:
                low, high = self.shortest[place], self.longest[place]
                wider = _WIDER * (high - low) + _WIDER_S
                low, high = max(begins, low - wider), min(ends, high + wider)
                around = [(begins, low, spread / 2), (high, ends, spread / 2)]
                around = [stretch for stretch in around if stretch[0] < stretch[1]]
                left = spread - sum(mass for _, _, mass in around)
                stretches += sorted([*around, (low, high, count + left)])
            begins = ends
        total = self.weight + 1.0
        left = total
        found = []
        for begins, ends, count in stretches:
            found.append(Segment(begins, ends, left / total, count / total))
            left -= count
        return found
