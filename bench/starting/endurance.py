"""Starts without end: thousands in a row, and what is left of them.

One after another, each by the strategy that is asked for, in an instance that starts by no other.
What is counted before is counted after the first starts, which fill caches.
"""

from __future__ import annotations

import time
from typing import Any

from lab.steps import Steps
from rekindle.exception import Error
from rekindle.sdk.running import ask_strategy
from starting.figures import RowFigures
from starting.functions import NO_MODEL
from starting.left_behind import growth, more, take
from starting.places import Place, Places, until_no_runner_is_left
from starting.strategies import SPARE

_FIRST = 50
#: It ends after so many errors.
_ERRORS = 10
_SAY_S = 5.0


def measure(at: Places, starts: dict[str, int], steps: Steps) -> list[RowFigures]:
    """So many starts by each strategy."""
    return [_row(place, starts[strategy], steps) for strategy, place in at.items()]


def _row(place: Place, starts: int, steps: Steps) -> RowFigures:
    figures = RowFigures(place.strategy)
    with ask_strategy(place.strategy):
        for _ in range(_FIRST):
            _one(place)
        until_no_runner_is_left({place.strategy: place})
        before = take(place)
        began = said = time.monotonic()
        while figures.starts < starts and len(figures.errors) < _ERRORS:
            try:
                _one(place)
                figures.starts += 1
            except Error as error:
                figures.errors.append(f"{type(error).__name__}: {error}")
            if time.monotonic() - said > _SAY_S:
                said = time.monotonic()
                steps.say(f"{figures.starts:,} of {starts:,} by {place.strategy}")
        figures.seconds = time.monotonic() - began
    until_no_runner_is_left({place.strategy: place})
    after = take(place)
    figures.left, figures.growth_bytes = more(before, after), growth(before, after)
    return figures


def _one(place: Place) -> None:
    function: Any = place.functions.starts[NO_MODEL]
    if place.strategy == SPARE:
        function.prepare(SPARE)  # the next one is forked meanwhile: it may not be there yet
    function.remote()
