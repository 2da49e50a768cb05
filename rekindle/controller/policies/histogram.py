"""``histogram``: the hybrid histogram policy.

From Shahrad et al., "Serverless in the Wild: Characterizing and Optimizing the Serverless Workload
at a Large Cloud Provider", USENIX ATC 2020, section 4. For each function, a histogram of its idle
times (end of an input to the arrival of the next) in bins of a minute, up to four hours:

- Is it representative (coefficient of variation of the bins' counts above 2)? Then the runner is
  stopped at once and started again shortly before the 5th percentile of the idle times (the
  pre-warming window), and kept until the 99th (the keep-alive window). The first is rounded down
  to a whole bin and shortened by a margin of 10 %, the second rounded up and lengthened. A
  pre-warming window of 0 means that the runner is not stopped in between.
- Are most idle times beyond the histogram? Then the next one is forecast from the last ones. The
  paper fits an ARIMA model each time; we forecast with an autoregression of the first order around
  the mean, ARIMA(1, 0, 0), which needs no library. Margin 15 % on both sides.
- Else the standard policy: no pre-warming, kept for the histogram's whole range.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rekindle.controller.policies.policy import (
    Policy,
    PoolSettings,
    PoolView,
    Sizer,
    bottom,
    plan_of,
)
from rekindle.counted import counted
from rekindle.exception import InvalidError
from rekindle.wire.pools import Level, PoolPlan, Rest

_BIN_S = 60.0
#: Out-of-bounds idle times that the forecast looks at.
_REMEMBERED = 32


@dataclass(frozen=True, kw_only=True)
class HistogramPolicy(Policy):
    """The parameters and their values in the paper."""

    range_s: float = 4 * 3600.0
    head: float = 0.05
    tail: float = 0.99
    margin: float = 0.10
    cv: float = 2.0
    out_of_bounds: float = 0.5
    forecast_margin: float = 0.15

    def __post_init__(self) -> None:
        if self.range_s < _BIN_S or not 0 <= self.head < self.tail <= 1:
            raise InvalidError(
                f"histogram: range_s={self.range_s:g} must be a minute or more, and head and tail "
                f"({self.head:g}, {self.tail:g}) rising shares"
            )

    def sizer(self) -> HistogramSizer:
        """The part for one more pool."""
        return HistogramSizer(self)


@dataclass(slots=True)
class HistogramSizer(Sizer):
    """One pool's histogram."""

    policy: HistogramPolicy
    bins: list[int] = field(default_factory=list)
    inside: int = 0
    squares: int = 0  # sum of the squares of the bins' counts
    outside: int = 0
    last: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    quiet_since: float | None = None
    _made_of: int = -1  # idle times that the last plan was made of
    _settings: PoolSettings | None = None
    _plan: PoolPlan | None = None

    def __post_init__(self) -> None:
        self.bins = [0] * round(self.policy.range_s / _BIN_S)

    def arrived(self, now: float) -> None:
        """Note the idle time that ends."""
        if self.quiet_since is not None:
            idle_s = now - self.quiet_since
            self.quiet_since = None
            place = int(idle_s / _BIN_S)
            if place < len(self.bins):
                self.squares += 2 * self.bins[place] + 1
                self.bins[place] += 1
                self.inside += 1
            else:
                self.outside += 1
                self.last.append(idle_s)

    def quiet(self, now: float) -> None:
        """An idle time begins."""
        self.quiet_since = now

    def plan(self, view: PoolView) -> PoolPlan:
        """The windows that the idle times so far give."""
        noted = self.inside + self.outside
        # A few more among many change no percentile worth a look at all bins.
        fresh = noted - self._made_of <= noted // 50 and self._made_of >= 0
        if fresh and self._plan is not None and view.settings == self._settings:
            return self._plan
        self._made_of, self._settings = noted, view.settings
        prewarm_s, keep_s, why = self.windows()
        low = bottom(view.levels)
        if prewarm_s > 0:
            rest = (Rest(low, prewarm_s), Rest(Level.WARM, keep_s), Rest(low))
            plan = plan_of(view, keep_s=0.0, rest=rest, why=why)
        else:
            plan = plan_of(view, keep_s=keep_s, why=why)
        self._plan = plan
        return plan

    def windows(self) -> tuple[float, float, str]:
        """Pre-warming and keep-alive window in seconds, and where they come from."""
        policy = self.policy
        noted = self.inside + self.outside
        if noted and self.outside > policy.out_of_bounds * noted:
            next_s = forecast(self.last)
            margin_s = policy.forecast_margin * next_s
            return next_s - margin_s, 2 * margin_s, f"next input forecast after {next_s:.0f} s"
        if not self.inside or self.variation() <= policy.cv:
            return 0.0, policy.range_s, "idle times show no pattern: kept for the whole range"
        prewarm_s = self.percentile(policy.head) * _BIN_S * (1 - policy.margin)
        until_s = (self.percentile(policy.tail) + 1) * _BIN_S * (1 + policy.margin)
        return prewarm_s, until_s - prewarm_s, f"histogram of {counted(self.inside, 'idle time')}"

    def variation(self) -> float:
        """Coefficient of variation of the bins' counts."""
        count = len(self.bins)
        mean = self.inside / count
        variance = max(0.0, self.squares / count - mean * mean)
        return float(variance**0.5 / mean)

    def percentile(self, share: float) -> int:
        """The bin that it lies in."""
        left = share * self.inside
        for place, noted in enumerate(self.bins):
            left -= noted
            if noted and left <= 0:
                return place
        return len(self.bins) - 1


def forecast(values: Sequence[float]) -> float:
    """The next of a series: autoregression of the first order around its mean."""
    mean = sum(values) / len(values)
    off = [value - mean for value in values]
    scale = sum(x * x for x in off[:-1])
    if scale <= 0.0:
        return mean
    slope = sum(a * b for a, b in pairwise(off)) / scale
    # Beyond 1 a series runs away; what is forecast stays among what was seen.
    guess = mean + max(-0.99, min(0.99, slope)) * off[-1]
    return min(max(guess, min(values)), max(values))
