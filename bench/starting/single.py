"""One start at a time: what a caller waits where no runner is idle, and the calls after it.

As any caller starts them: no strategy is asked for, and a run counts only when the one that is
measured has served it.
"""

from __future__ import annotations

import time
from typing import Any

from lab.steps import Steps
from rekindle.bench.table import ms
from rekindle.exception import Error
from rekindle.wire.phases import Strategy
from restoring.calls import plain
from restoring.probes import Probe
from starting.bare import Bare
from starting.figures import Figures, Start
from starting.places import Places, settle, until_no_runner_is_left

#: Warm calls after the first one.
CALLS = 20
#: Then these, each after a pause.
RESTED, PAUSE_S = 3, 0.05


def measure(
    at: Places,
    kinds: tuple[str, ...],
    rounds: int,
    bare: Bare,
    sleep: Probe,
    figures: Figures,
    steps: Steps,
) -> None:
    """``rounds`` starts of each, all of them in turn with their floors."""
    _round(at, kinds, 0, bare, sleep, Figures(machine={}), steps)  # fills caches
    for number in range(rounds):
        _round(at, kinds, number, bare, sleep, figures, steps)


def _round(
    at: Places,
    kinds: tuple[str, ...],
    number: int,
    bare: Bare,
    sleep: Probe,
    figures: Figures,
    steps: Steps,
) -> None:
    until_no_runner_is_left(at)
    each = [(kind, place) for kind in kinds for place in at.values()]
    turn = number % len(each)
    for kind, place in each[turn:] + each[:turn]:
        settle(at)
        figures.bare.append(bare.one())
        one = figures.start(kind, place.strategy)
        try:
            one.runs.append(first_and_later(place.functions.starts[kind], place.strategy))
            steps.say(f"{kind}, {place.strategy}: {ms(one.runs[-1].first_ms)} ms")
        except Error as error:
            one.errors.append(f"{type(error).__name__}: {error}")
            steps.report(f"{kind}, {place.strategy}", None, one.errors[-1])
    settle(at)
    figures.sleep_ms.append(sleep.ask())


def first_and_later(function: Any, strategy: str) -> Start:
    """A call that starts a runner, and the ones after it. Raises StrategyUnavailableError."""
    first_ms, _, record = plain(function, Strategy(strategy))
    second_ms, *later_ms = (plain(function, Strategy.WARM)[0] for _ in range(CALLS))
    return Start(
        first_ms=first_ms,
        second_ms=second_ms,
        later_ms=later_ms,
        rested_ms=[_rested(function) for _ in range(RESTED)],
        phases=record.phases,
    )


def _rested(function: Any) -> float:
    time.sleep(PAUSE_S)
    return plain(function, Strategy.WARM)[0]
