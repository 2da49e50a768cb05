"""Starts that are asked for at the same moment.

The function takes longer than the whole burst does, so each call needs a runner of its own; what a
caller waited beyond that is the start. A burst that was not over before the first call returned is
an error: a call in it may have had the runner of another.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from lab.steps import Steps
from rekindle.bench.summary import median
from rekindle.bench.table import ms
from restoring.threads import together
from starting.bare import Bare
from starting.figures import BurstFigures, Figures
from starting.places import Place, Places, settle, until_no_runner_is_left
from starting.strategies import RESTORE

_PATIENCE_S = 120.0
#: A start takes no longer than this, whatever else is started.
_EACH_S = 0.03


def measure(
    at: Places,
    kinds: tuple[str, ...],
    rounds: dict[int, int],
    bare: Bare,
    figures: Figures,
    steps: Steps,
) -> None:
    """``rounds``: how often so many at once are asked for, by their number."""
    for count, times in rounds.items():
        for kind in kinds:
            burst = {
                place.strategy: BurstFigures(kind, place.strategy, count)
                for place in at.values()
                if place.strategy != RESTORE or count < 100
            }
            for _ in range(times):
                until_no_runner_is_left(at)
                for strategy, one in burst.items():
                    settle(at)
                    figures.bare.append(bare.one())
                    one.bare_ms += bare.at_once(count)
                    _once(at[strategy], kind, count, one)
                    steps.say(f"{kind}, {strategy} x {count}: {ms(median(one.took_ms))} ms")
            figures.bursts += burst.values()


def _once(place: Place, kind: str, count: int, figures: BurstFigures) -> None:
    function = place.functions.starts[kind]
    lasts_s = 0.5 + count * _EACH_S
    done = together(partial(function.remote, lasts_s), count, patience_s=lasts_s + _PATIENCE_S)
    took_ms = [waited_ms - ran_s * 1e3 for waited_ms, ran_s in done.answers]
    figures.took_ms += took_ms
    figures.errors += done.errors
    if took_ms and max(took_ms) > lasts_s * 1e3:
        figures.errors.append("a start came after the first call had returned")
    figures.served = dict(done.served + Counter(figures.served))
