"""What SPECIFICATION.md promises of restores and forks, checked against figures. Pure functions."""

from __future__ import annotations

import math

from lab.checks import Check, all_kept, times
from restoring import scaling
from restoring.scaling import Figures, SizeFigures

#: The size that the promises are about; a run without it checks the largest that it has.
PROMISED_GB = 4.0

RESTORE_TO_FLOOR = 1.5
RESTORE_TO_SMALL = 1.3
TIMES_FASTER_THAN_COPIED = 50.0
TIMES_FASTER_THAN_COLD = 300.0
FORK_TO_BARE = 12.0
FORK_TO_SMALL = 2.0
SHARED_RUNNERS, SHARED_RATIO = 8, 1.3
CONCURRENT = 50


def restore_is_flat(figures: Figures) -> Check:
    """A restore does not grow with the model."""
    size = figures.largest
    floor = size.ratio(scaling.RESTORE, scaling.FLOOR) if size else math.nan
    small = size.ratio(scaling.RESTORE, scaling.SMALL) if size else math.nan
    return Check(
        f"{_at(size)} a restore takes at most {RESTORE_TO_FLOOR:g} times that of a process without "
        f"a model ({times(floor)}) and {RESTORE_TO_SMALL:g} times that of the smallest model "
        f"({times(small)})",
        all_kept((floor <= RESTORE_TO_FLOOR, floor), (small <= RESTORE_TO_SMALL, small)),
    )


def restore_is_faster(figures: Figures) -> Check:
    """Against copying, and against a cold start; of the promised size alone."""
    size = figures.size(PROMISED_GB)
    copied = size.ratio(scaling.COPIED, scaling.RESTORE) if size else math.nan
    cold = size.ratio(scaling.COLD, scaling.RESTORE) if size else math.nan
    return Check(
        f"at {PROMISED_GB:g} GB a restore is at least {TIMES_FASTER_THAN_COPIED:g} times faster "
        f"than one that copies ({times(copied)}) and {TIMES_FASTER_THAN_COLD:g} times faster than "
        f"a cold start ({times(cold)})",
        all_kept(
            (copied >= TIMES_FASTER_THAN_COPIED, copied), (cold >= TIMES_FASTER_THAN_COLD, cold)
        ),
    )


def fork_is_flat(figures: Figures) -> Check:
    """A fork of a restored template does not grow: the start alone, as os.fork is."""
    size = figures.largest
    bare = small = math.nan
    if size is not None:
        took = size.start_ms(scaling.FORK)
        bare = took / size.p50_ms(scaling.BARE_FORK)
        small = took / size.start_ms(scaling.SMALL_FORK)
    return Check(
        f"{_at(size)} a fork of a restored template takes at most {FORK_TO_BARE:g} times an "
        f"os.fork of an empty Python ({times(bare)}) and {FORK_TO_SMALL:g} times that of the "
        f"smallest model ({times(small)})",
        all_kept((bare <= FORK_TO_BARE, bare), (small <= FORK_TO_SMALL, small)),
    )


def memory_is_shared(figures: Figures) -> Check:
    """Runners that have read a whole model hold it once."""
    shared = figures.shared
    enough = shared is not None and len(shared.pss_bytes) >= SHARED_RUNNERS
    ratio = shared.ratio if shared is not None and enough else math.nan
    return Check(
        f"{SHARED_RUNNERS} runners of one snapshot, each of which has read all of it, hold at most "
        f"{SHARED_RATIO:g} times the memory of one ({times(ratio)})",
        all_kept((ratio <= SHARED_RATIO, ratio)),
    )


def concurrent_restores_succeed(figures: Figures) -> Check:
    """Many at the same moment, none fails."""
    groups = [
        group
        for group in figures.at_once
        if group.strategy == "restore" and group.at_once >= CONCURRENT
    ]
    starts = sum(group.starts for group in groups)
    failed = sum(len(group.errors) for group in groups)
    return Check(
        f"{CONCURRENT} restores of one snapshot at once all succeed "
        f"({starts - failed} of {starts})",
        failed == 0 if starts else None,
    )


def _at(size: SizeFigures | None) -> str:
    return f"at {size.gigabytes:g} GB" if size else f"at {PROMISED_GB:g} GB"
