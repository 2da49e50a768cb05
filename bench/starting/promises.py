"""What SPECIFICATION.md promises of starts, checked against figures. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lab.checks import Check, all_kept, times
from rekindle.bench.summary import median
from starting.figures import CpuFigures, Figures
from starting.functions import LARGE, NO_MODEL, SMALL
from starting.strategies import ALL, FORK, RESTORE, SPARE

#: The kinds of functions that are promised of.
KINDS = (NO_MODEL, SMALL, LARGE)

SPARE_TO_BARE, FORK_TO_BARE, RESTORE_TO_SLEEP = 2.0, 5.0, 1.7
SECOND_TO_LATER = 1.3
FORK_CPU_TO_BARE, RESTORE_CPU_TO_BARE = 4.0, 15.0
BURST, BURST_TO_BARE = 24, 25.0
TIMES_POOL, SUSTAINED_S = 3.0, 20.0
IN_A_ROW = {SPARE: 10_000, FORK: 10_000, RESTORE: 2_000}
GROWTH_BYTES = 16 << 20
SECOND_RUN_MS = 100.0


def spares_are_short(figures: Figures) -> Check:
    """From ``.remote()`` to the result, in terms of the floor."""
    ratio = _worst(figures, SPARE, figures.bare_ms)
    return Check(
        f"a start by a spare takes at most {SPARE_TO_BARE:g} times a bare fork and exit of an "
        f"empty Python ({times(ratio)})",
        all_kept((ratio <= SPARE_TO_BARE, ratio)),
    )


def forks_are_short(figures: Figures) -> Check:
    """The same of a fork without a spare."""
    ratio = _worst(figures, FORK, figures.bare_ms)
    return Check(
        f"a start by fork takes at most {FORK_TO_BARE:g} times that ({times(ratio)})",
        all_kept((ratio <= FORK_TO_BARE, ratio)),
    )


def restores_are_short(figures: Figures) -> Check:
    """The same of a restore, whose floor is CRIU's own."""
    ratio = _worst(figures, RESTORE, median(figures.sleep_ms))
    return Check(
        f"a start by restore takes at most {RESTORE_TO_SLEEP:g} times what CRIU's command line "
        f"takes to restore sleep ({times(ratio)})",
        all_kept((ratio <= RESTORE_TO_SLEEP, ratio)),
    )


def first_call_after_is_warm(figures: Figures) -> Check:
    """The call after a start is like any later one."""
    ratio = _largest(figures.start(kind, strategy).after for kind in KINDS for strategy in ALL)
    return Check(
        f"the first call after a start takes at most {SECOND_TO_LATER:g} times a later warm one "
        f"({times(ratio)})",
        all_kept((ratio <= SECOND_TO_LATER, ratio)),
    )


def forks_are_cheap(figures: Figures) -> Check:
    """Processor time over all processes, in terms of the floor's."""
    ratio = _cpu(figures.cpu, FORK)
    return Check(
        f"a forked start takes at most {FORK_CPU_TO_BARE:g} times the processor time of a bare "
        f"fork and exit ({times(ratio)})",
        all_kept((ratio <= FORK_CPU_TO_BARE, ratio)),
    )


def restores_are_cheap(figures: Figures) -> Check:
    """The same of a restore."""
    ratio = _cpu(figures.cpu, RESTORE)
    return Check(
        f"a restored start takes at most {RESTORE_CPU_TO_BARE:g} times as much ({times(ratio)})",
        all_kept((ratio <= RESTORE_CPU_TO_BARE, ratio)),
    )


def bursts_are_short(figures: Figures) -> Check:
    """Many forked starts at once."""
    ratio = _largest(
        median(one.took_ms) / figures.bare_ms
        for one in figures.bursts
        if (one.strategy, one.at_once) == (FORK, BURST)
    )
    return Check(
        f"of {BURST} forked starts at once the median is at most {BURST_TO_BARE:g} times a bare "
        f"fork and exit ({times(ratio)})",
        all_kept((ratio <= BURST_TO_BARE, ratio)),
    )


def fresh_processes_are_quick(figures: Figures) -> Check:
    """Beside the standard library's pool."""
    fresh, ratio, shown = figures.fresh, math.nan, ""
    if fresh is not None:
        shown = f"; {fresh.share_of_floor:.0%} of bare forks on as many cores"
        if fresh.seconds >= SUSTAINED_S and not fresh.ours.errors:
            ratio = fresh.times_pool
    return Check(
        f"a fresh isolated process for every input, PyTorch preloaded: at least {TIMES_POOL:g} "
        f"times as many a second as ProcessPoolExecutor ({times(ratio)}{shown})",
        all_kept((ratio >= TIMES_POOL, ratio)),
    )


def many_leave_nothing(figures: Figures) -> Check:
    """Thousands in a row: none fails, nothing is left."""
    rows = figures.endurance
    made = {row.strategy: row.starts for row in rows}
    failed = sum(len(row.errors) for row in rows)
    left = sum(sum(row.left.values()) for row in rows)
    most = max((grown for row in rows for grown in row.growth_bytes.values()), default=0)
    whole = all(made.get(strategy, 0) >= count for strategy, count in IN_A_ROW.items())
    text = ", ".join(f"{count:,} by {strategy}" for strategy, count in IN_A_ROW.items())
    did = ", ".join(f"{count:,} by {strategy}" for strategy, count in made.items()) or "none made"
    broken = failed > 0 or left > 0 or most > GROWTH_BYTES
    return Check(
        f"starts in a row, {text}: none fails, nothing is left ({did}: {failed} failed, {left} "
        f"things left, {most / 2**20:.1f} MiB of growth at most)",
        False if broken else True if whole else None,
    )


def second_run_is_short(figures: Figures) -> Check:
    """``rekindle run``, when it has been run before."""
    shell, more_ms = figures.shell, math.nan
    if shell is not None:
        more_ms = shell.second.median_ms - shell.python.median_ms
    shown = "not measured" if math.isnan(more_ms) else f"{more_ms:.0f} ms"
    return Check(
        f"a second rekindle run of a small program takes at most {SECOND_RUN_MS:g} ms more "
        f"than python -c pass ({shown})",
        all_kept((more_ms <= SECOND_RUN_MS, more_ms)),
    )


def _worst(figures: Figures, strategy: str, floor_ms: float) -> float:
    """Of all kinds the start that is furthest from the floor; NaN where one is missing."""
    return _largest(median(figures.start(kind, strategy).first_ms) / floor_ms for kind in KINDS)


def _cpu(found: Iterable[CpuFigures], strategy: str) -> float:
    return _largest(one.ratio for one in found if one.strategy == strategy)


def _largest(values: Iterable[float]) -> float:
    """NaN where there is none, or where one is."""
    every = list(values)
    return math.nan if not every or any(map(math.isnan, every)) else max(every)
