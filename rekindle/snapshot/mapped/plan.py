"""The plan for one process: its areas cut at the edges of what is present, page runs sorted into
what is mapped in place and what is copied.

CRIU's page file holds the present pages one after the other, in the order of the pagemap, so each
run of present pages lies in it contiguously and can be mapped where it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rekindle.snapshot.mapped import areas
from rekindle.snapshot.mapped.areas import PAGE_BYTES, Keep

#: Pagemap entry flags (criu/include/pagemap.h).
PE_PARENT = 1
PE_PRESENT = 4

#: A run of fewer pages is copied: one more area costs CRIU more than reading them.
MIN_RUN_PAGES = 16


@dataclass(frozen=True)
class Run:
    """Present pages that are contiguous in memory and in the page file."""

    start: int  # address
    pages: int
    offset: int  # bytes into the page file
    flags: int

    @property
    def end(self) -> int:
        """The address after it."""
        return self.start + self.pages * PAGE_BYTES


@dataclass
class Piece:
    """A part of an area; ``run`` is what it maps, or None where it stays as it was."""

    area: Any
    start: int
    end: int
    run: Run | None = None


@dataclass
class Plan:
    """What becomes of one process."""

    pieces: list[Piece] = field(default_factory=list)
    copied: list[Run] = field(default_factory=list)
    kept: Counter[Keep] = field(default_factory=Counter)  # areas, by reason

    @property
    def mapped_bytes(self) -> int:
        """Bytes that will be mapped."""
        return sum(piece.end - piece.start for piece in self.pieces if piece.run is not None)

    @property
    def copied_bytes(self) -> int:
        """Bytes that CRIU still reads at each restore."""
        return sum(run.pages for run in self.copied) * PAGE_BYTES

    @property
    def mapped_areas(self) -> int:
        """Areas that map the page file."""
        return sum(1 for piece in self.pieces if piece.run is not None)


class UnplannableError(Exception):
    """The images are of a kind that is not mapped; the message says why."""


def runs_of(pagemap: list[Any]) -> Iterator[Run]:
    """The runs of a pagemap (its head left out), with their place in the page file."""
    offset = 0
    for entry in pagemap:
        flags = entry.flags
        if entry.in_parent or flags & PE_PARENT:
            raise UnplannableError("pages lie in a parent snapshot")
        if flags and not flags & PE_PRESENT:
            continue  # nothing of it is in the page file
        yield Run(entry.vaddr, entry.nr_pages, offset, flags)
        offset += entry.nr_pages * PAGE_BYTES


def make_plan(
    vmas: list[Any],
    pagemap: list[Any],
    *,
    small_bytes: int = areas.SMALL_BYTES,
    min_run_pages: int = MIN_RUN_PAGES,
) -> Plan:
    """Cut the areas of a process at its runs. Both lists are sorted by address.

    Raises UnplannableError when pages lie outside every area.
    """
    plan = Plan()
    runs = list(runs_of(pagemap))
    position = 0
    for area in vmas:
        inside: list[Run] = []
        while position < len(runs) and runs[position].start < area.end:
            run = runs[position]
            if run.start < area.start:
                raise UnplannableError(f"pages at {run.start:#x} lie in no area")
            if run.end > area.end:  # a run can span adjacent areas
                first, rest = _split(run, area.end)
                inside.append(first)
                runs[position] = rest
                break
            inside.append(run)
            position += 1
        _place(plan, area, inside, small_bytes, min_run_pages)
    if position < len(runs):
        raise UnplannableError(f"pages at {runs[position].start:#x} lie in no area")
    return plan


def _split(run: Run, at: int) -> tuple[Run, Run]:
    pages = (at - run.start) // PAGE_BYTES
    return (
        Run(run.start, pages, run.offset, run.flags),
        Run(at, run.pages - pages, run.offset + pages * PAGE_BYTES, run.flags),
    )


def _place(plan: Plan, area: Any, inside: list[Run], small_bytes: int, min_run_pages: int) -> None:
    reason = areas.reason_to_keep(area, small_bytes)
    if reason is not None:
        plan.kept[reason] += 1
        plan.pieces.append(Piece(area, area.start, area.end))
        plan.copied += inside
        return
    at = area.start
    for run in _joined(inside):
        if run.pages < min_run_pages:
            plan.copied.append(run)
            continue
        if run.start > at:
            plan.pieces.append(Piece(area, at, run.start))
        plan.pieces.append(Piece(area, run.start, run.end, run))
        at = run.end
    if at < area.end:
        plan.pieces.append(Piece(area, at, area.end))


def _joined(runs: list[Run]) -> list[Run]:
    """Runs that touch, in memory and in the page file, made one (CRIU cuts them by flags)."""
    joined: list[Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        if last and last.end == run.start and last.offset + last.pages * PAGE_BYTES == run.offset:
            joined[-1] = Run(
                last.start, last.pages + run.pages, last.offset, last.flags | run.flags
            )
        else:
            joined.append(run)
    return joined
