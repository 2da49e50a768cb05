"""Starts that are asked for at the same moment, and what they cost in processor time."""

from __future__ import annotations

from typing import Any

from lab.steps import Steps
from rekindle.wire.phases import Strategy
from restoring.calls import forced, prepare
from restoring.instance import Instance
from restoring.scaling import AtOnceFigures
from restoring.threads import together

STRATEGIES = (Strategy.RESTORE, Strategy.FORK)


def measure(
    at: Instance, what: str, function: Any, rounds: dict[int, int], steps: Steps
) -> list[AtOnceFigures]:
    """``rounds``: how often so many starts at once are asked for, by their number."""
    found = []
    for strategy in STRATEGIES:
        prepare(function, strategy)
        forced(function, strategy)()
        for count, times in rounds.items():
            steps.say(f"{what}: {strategy} x {count}")
            found.append(_group(at, what, function, strategy, count, times))
    return found


def restores(at: Instance, what: str, function: Any, count: int, steps: Steps) -> AtOnceFigures:
    """So many restores of one snapshot at once."""
    steps.say(f"{what}: restore x {count}")
    prepare(function, Strategy.RESTORE)
    return _group(at, what, function, Strategy.RESTORE, count, 1)


def _group(
    at: Instance, what: str, function: Any, strategy: Strategy, count: int, times: int
) -> AtOnceFigures:
    took: list[float] = []
    errors: list[str] = []
    cpu_s = 0.0
    for _ in range(times):
        at.settle()
        before = at.cpu_s()
        done = together(function.remote, count, strategy)
        at.settle()  # ends of runners, and what is made ready for the next starts, count as well
        cpu_s += at.cpu_s() - before
        took += done.took_ms
        errors += done.errors
    return AtOnceFigures(
        what=what,
        strategy=strategy.value,
        at_once=count,
        took_ms=took,
        cpu_ms=cpu_s * 1e3 / max(1, count * times),
        errors=errors,
    )
