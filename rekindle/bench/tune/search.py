"""Every setting on one trace; which are on the Pareto front, and which to take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rekindle.bench.tune.outcome import Outcome, outcome
from rekindle.bench.tune.pools import Node
from rekindle.bench.tune.settings import Setting
from rekindle.bench.tune.simulator import Simulation
from rekindle.bench.tune.trace import Trace
from rekindle.controller.policies.policy import Prices
from rekindle.counted import counted


@dataclass(frozen=True)
class Tried:
    """A setting and what it did."""

    setting: Setting
    outcome: Outcome
    took_s: float  # CPU time of the simulation: others on the machine do not count

    @property
    def label(self) -> str:
        """The setting's."""
        return self.setting.label


@dataclass(frozen=True)
class Recommendation:
    """The setting to take."""

    tried: Tried
    meets_target: bool
    why: str


def try_all(
    trace: Trace,
    settings: Sequence[Setting],
    prices: Prices,
    node: Node,
    progress: Callable[[str], None] = lambda _label: None,
) -> list[Tried]:
    """Replay the trace under each setting."""
    found = []
    for setting in settings:
        progress(setting.label)
        began = time.process_time()
        simulation = Simulation(setting.on(trace), setting.make(), node).run()
        took_s = time.process_time() - began
        found.append(Tried(setting, outcome(simulation, prices), took_s))
    return found


def with_spares(
    chosen: Recommendation,
    counted: Sequence[Tried],
    prices: Prices,
    *,
    target_ms: float,
    percentile: int,
) -> Recommendation:
    """The same setting with the number of spares that pays, of those in ``counted``.

    What pays is the least in cost and in callers' waiting at its price; the target stays met.
    """
    if not counted:
        return chosen
    before = chosen.tried
    hour = prices.waiting_hour
    fit = [
        one
        for one in (before, *counted)
        if not chosen.meets_target or one.outcome.at(percentile) <= target_ms
    ]
    best = min(fit, key=lambda one: one.outcome.cost + one.outcome.waiting_hours * hour)
    return Recommendation(best, chosen.meets_target, f"{chosen.why}; {_spares(best, before)}")


def _spares(best: Tried, before: Tried) -> str:
    """What they do and cost, in words."""
    out = best.outcome
    count = best.setting.overrides.get("spare_containers")
    of = "as many as the policy has it" if count is None else str(count or "none")
    text = f"spares: {of}"
    if out.spared:
        cost = out.spare_cost / out.cost if out.cost else 0.0
        text += (
            f", which {out.spared / max(1, out.started):.0%} of "
            f"{counted(out.started, 'start takes', 'starts take')}, for "
            f"{out.spare_gib_hours:.3g} GiB·h, {cost:.1%} of the cost"
        )
    if best is not before:
        instead = before.outcome.start_ms
        text += (
            f"; starts take {out.start_ms:.1f} ms on average instead of {instead:.1f}, "
            f"for {out.cost_per_day:.3g} a day in all"
        )
    return text


def pareto(tried: Sequence[Tried], percentile: int) -> list[Tried]:
    """Those that nothing beats in both cost and latency (to the millisecond), cheapest first."""
    front: list[Tried] = []
    least = math.inf
    for one in sorted(tried, key=lambda t: (t.outcome.cost, t.outcome.at(percentile))):
        latency = round(one.outcome.at(percentile))
        if latency < least:
            front.append(one)
            least = latency
    return front


def recommend(tried: Sequence[Tried], *, target_ms: float, percentile: int) -> Recommendation:
    """The cheapest that meets the target; where none does, the one that comes nearest."""
    meeting = [t for t in tried if t.outcome.at(percentile) <= target_ms]
    if meeting:
        best = min(meeting, key=lambda t: (t.outcome.cost, t.outcome.mean_ms))
        return Recommendation(best, True, _why(best, meeting, tried, target_ms, percentile))
    best = min(tried, key=lambda t: (t.outcome.at(percentile), t.outcome.cost))
    latency = best.outcome.at(percentile)
    return Recommendation(
        best,
        False,
        f"none meets {target_ms:g} ms at p{percentile}; this comes nearest ({latency:.0f} ms). A "
        "snapshot, a longer window or min_containers would be needed",
    )


def _why(
    best: Tried, meeting: Sequence[Tried], tried: Sequence[Tried], target_ms: float, percentile: int
) -> str:
    out = best.outcome
    text = (
        f"the cheapest of {counted(len(meeting), 'setting')} (of {len(tried)}) whose "
        f"p{percentile} is at most {target_ms:g} ms: {out.at(percentile):.0f} ms for "
        f"{out.cost_per_day:.3g} a day"
    )
    now = next((t for t in tried if t.setting.current), None)
    if now is not None and now is not best and now.outcome.cost > 0:
        saved = 1 - out.cost / now.outcome.cost
        than = "less" if saved >= 0 else "more"
        text += (
            f"; {abs(saved):.0%} {than} than now, which gives {now.outcome.at(percentile):.0f} ms"
        )
    cheaper = [t for t in tried if t.outcome.cost < out.cost]
    if cheaper:
        near = max(cheaper, key=lambda t: t.outcome.cost)
        text += (
            f"; the next cheaper one ({near.label}) is late: {near.outcome.at(percentile):.0f} ms"
        )
    return text
