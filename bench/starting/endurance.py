"""Starts without end: thousands in a row, and what is left of them.

All instances at the same time, each with one start after another, each start for an input of its
own. What is counted before is counted after the first starts, which fill caches.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from lab.steps import Steps
from rekindle.exception import Error
from rekindle.sdk.calls import records
from starting.figures import EnduranceFigures, RowFigures
from starting.left_behind import growth, more, take
from starting.places import Place, Places, until_no_runner_is_left
from starting.strategies import SPARE

_FIRST = 50
#: Errors that are kept; all are counted.
_KEPT = 10
_SAY_S = 5.0
_PATIENCE_S = 1800.0


@dataclass
class _Run:
    place: Place
    starts: int
    figures: RowFigures
    done: int = 0

    def go(self) -> None:
        function: Any = self.place.functions.once
        began = time.monotonic()
        while self.done < self.starts and len(self.figures.errors) < _KEPT:
            try:
                if self.place.strategy == SPARE:
                    function.prepare(SPARE)  # else most would find that the next is not there yet
                function.remote()
            except Error as error:
                self.figures.errors.append(f"{type(error).__name__}: {error}")
            self.done += 1
        self.figures.seconds = time.monotonic() - began


def measure(at: Places, starts: dict[str, int], steps: Steps) -> EnduranceFigures:
    """So many starts in each instance."""
    for place in at.values():
        for _ in range(_FIRST):
            place.functions.once.remote()
    until_no_runner_is_left(at)
    before = {strategy: take(place) for strategy, place in at.items()}
    runs = [_Run(place, starts[strategy], RowFigures(strategy)) for strategy, place in at.items()]
    threads = [threading.Thread(target=run.go, daemon=True) for run in runs]
    with records.collect() as finished:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _PATIENCE_S
        while any(thread.is_alive() for thread in threads):
            threads[0].join(_SAY_S)
            steps.say(", ".join(f"{run.done:,} by {run.place.strategy}" for run in runs))
            if time.monotonic() > deadline:
                break
    until_no_runner_is_left(at)
    for run in runs:
        after = take(run.place)
        run.figures.starts = run.done
        run.figures.left = more(before[run.place.strategy], after)
        run.figures.growth_bytes = growth(before[run.place.strategy], after)
        if run.done < run.starts:
            run.figures.errors.append(f"{run.done} of {run.starts} starts were made")
    served = Counter(record.strategy for record in finished)
    for run in runs:
        if (count := served[run.place.strategy]) < run.done:
            run.figures.errors.append(f"{count:,} of {run.done:,} were by {run.place.strategy}")
    return EnduranceFigures([run.figures for run in runs], dict(served))
