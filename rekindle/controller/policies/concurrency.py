"""``concurrency``: as many runners as inputs in flight ask for, averaged over two windows.

As Knative's autoscaler documents (knative.dev, "Additional autoscaling configuration for Knative
Pod Autoscaler", and the defaults of its config-autoscaler map): every 2 s, the mean number of
inputs in flight over a stable window of 60 s, divided by the target of one runner (one input at a
time, 70 % of it), is the number of runners wanted. Over a panic window (10 % of the stable one), if
that asks for twice the runners there are, it counts instead, and nothing is scaled down until a
stable window has passed without reason to panic. At most 1000 times up and 2 times down at once.
To zero when a stable window has passed without an input, and then a grace of 30 s.

Only the autoscaler adds runners: an input that finds all of them busy waits for one. Where there is
none, the first input starts one (Knative's activator).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from rekindle.controller.policies.policy import (
    Policy,
    PoolSettings,
    PoolView,
    Sizer,
    bottom,
    plan_of,
)
from rekindle.exception import InvalidError
from rekindle.wire.pools import Level, PoolPlan, Rest


@dataclass(frozen=True, kw_only=True)
class Concurrency(Policy):
    """The parameters, and their defaults in Knative."""

    target: float = 1.0
    utilization: float = 0.7
    stable_s: float = 60.0
    panic_share: float = 0.10
    panic_threshold: float = 2.0
    max_up: float = 1000.0
    max_down: float = 2.0
    grace_s: float = 30.0
    tick_s: float = 2.0

    def __post_init__(self) -> None:
        if min(self.target, self.utilization, self.stable_s, self.panic_share, self.tick_s) <= 0:
            raise InvalidError("concurrency: target, utilization, windows and tick are above 0")
        if self.max_up <= 1 or self.max_down <= 1:
            raise InvalidError("concurrency: max_up and max_down are above 1")

    def sizer(self) -> ConcurrencySizer:
        """The part for one more pool."""
        return ConcurrencySizer(self)


@dataclass(slots=True)
class ConcurrencySizer(Sizer):
    """One pool's windows."""

    policy: Concurrency
    last_arrival: float = -math.inf
    samples: deque[tuple[float, float]] = field(default_factory=deque)  # (time, demand_s)
    panic_since: float | None = None
    panic_most: int = 0
    _last: tuple[int, float | None, PoolSettings, PoolPlan] | None = None

    def arrived(self, now: float) -> None:
        """An input has arrived."""
        self.last_arrival = now

    def plan(self, view: PoolView) -> PoolPlan:
        """Runners for the mean number of inputs in flight."""
        policy = self.policy
        self._sample(view)
        in_flight = view.busy + view.queued
        wanted = self._wanted(view)
        # Zero only after a whole window without inputs, and the grace.
        zero_at = self.last_arrival + policy.stable_s + policy.grace_s
        if not in_flight and view.now >= zero_at:
            wanted = 0
        elif self.last_arrival > -math.inf:
            wanted = max(wanted, 1)
        again_s: float | None = None
        if in_flight or wanted > 1 or self.panic_since is not None:
            again_s = policy.tick_s
        elif wanted:
            again_s = max(zero_at - view.now, 0.001)
        last = self._last
        if last and last[0] == wanted and last[1] == again_s and last[2] == view.settings:
            return last[3]
        plan = plan_of(
            view,
            runners=wanted,
            keep_s=0.0,
            rest=self._rest(view, wanted),
            patience_s=math.inf,
            again_s=again_s,
            why="panic: " * (self.panic_since is not None) + f"{wanted} for the inputs in flight",
        )
        self._last = (wanted, again_s, view.settings, plan)
        return plan

    def _rest(self, view: PoolView, wanted: int) -> tuple[Rest, ...]:
        """One runner stays while it is wanted, and so after a first input that is not seen yet."""
        if wanted:
            return (Rest(Level.WARM),)
        low = Rest(bottom(view.levels))
        if self.last_arrival > -math.inf:
            return (low,)
        return (Rest(Level.WARM, self.policy.stable_s + self.policy.grace_s), low)

    def _sample(self, view: PoolView) -> None:
        self.samples.append((view.now, view.demand_s))
        # One sample before the window stays: the mean is interpolated from it.
        while len(self.samples) > 2 and self.samples[1][0] <= view.now - self.policy.stable_s:
            self.samples.popleft()

    def _mean(self, view: PoolView, window_s: float) -> float:
        """Mean number of inputs in flight over the window, or since there is a pool."""
        since = view.now - window_s
        after = before = self.samples[-1]
        for sample in reversed(self.samples):
            before = sample
            if sample[0] <= since:
                break
            after = sample
        if before[0] < since < after[0]:
            share = (since - before[0]) / (after[0] - before[0])
            before = (since, before[1] + share * (after[1] - before[1]))
        lasted = view.now - before[0]
        if lasted <= 0:
            return 0.0  # the first look: nothing has lasted yet
        return (view.demand_s - before[1]) / lasted

    def _wanted(self, view: PoolView) -> int:
        policy = self.policy
        ready = max(view.busy + view.idle, 1)
        target = policy.target * policy.utilization
        stable = self._bounded(self._mean(view, policy.stable_s) / target, ready)
        panic = self._bounded(
            self._mean(view, policy.stable_s * policy.panic_share) / target, ready
        )
        if panic / ready >= policy.panic_threshold:
            self.panic_since = view.now
        elif self.panic_since is not None and view.now - self.panic_since > policy.stable_s:
            self.panic_since, self.panic_most = None, 0
        if self.panic_since is None:
            return stable
        self.panic_most = max(self.panic_most, panic, stable)
        return self.panic_most

    def _bounded(self, wanted: float, ready: int) -> int:
        """No more than max_up times, no less than a max_down-th of what is there."""
        most = math.ceil(self.policy.max_up * ready)
        least = math.floor(ready / self.policy.max_down)
        return min(max(math.ceil(wanted - 1e-9), least), most)
