"""The plan for one process: its areas cut into pieces, each of which is mapped or stays as it is,
and the page runs that are still copied.

CRIU's page file holds the present pages one after the other, in the order of the pagemap, so each
run of present pages lies in it contiguously and can be mapped where it is.

``mremap`` can grow a mapping at its end, and a grown file mapping would show what comes next in
the file, or end the program with SIGBUS where nothing comes. The kernel refuses to grow a range
that spans two areas (EFAULT; malloc then copies). So the first page of all that a program may
grow, each area and each chunk that malloc mapped, is *pinned*: it stays anonymous, an area apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot.mapped import areas
from rekindle.snapshot.mapped.areas import PAGE_BYTES, Keep, NotMappableError, Rules

#: Pagemap entry flags (criu/include/pagemap.h).
PE_PARENT = 1
PE_LAZY = 2
PE_PRESENT = 4

#: A run of fewer pages is copied. Measured with 2,000 runs in a restore by CRIU 4.1: a run that is
#: mapped costs 6 us (two areas, itself and the hole after it), a page that is copied 2.4 to 3.6 us.
#: So two pages would be worth it; eight keeps the areas few, which every later fork copies
#: (torch: 104 areas, not 123; 1.6 MB copied, not 1.2; no difference to its restore).
MIN_RUN_PAGES = 8


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

    def part(self, start: int, end: int) -> Run:
        """The pages of it between two addresses."""
        pages = (end - start) // PAGE_BYTES
        return Run(start, pages, self.offset + start - self.start, self.flags)


@dataclass(frozen=True)
class Held:
    """An area with its present pages; ``keep`` says why it stays as it is, if it does."""

    area: Any
    runs: list[Run]
    keep: Keep | None


@dataclass(frozen=True)
class Piece:
    """A part of an area; ``offset`` is where the mapped file has it, None where nothing changes."""

    area: Any
    start: int
    end: int
    offset: int | None = None


#: The addresses of pages in a mappable area that must stay anonymous, in rising order.
Pins = Callable[[Held], list[int]]


@dataclass
class Plan:
    """What becomes of one process."""

    pieces: list[Piece] = field(default_factory=list)
    copied: list[Run] = field(default_factory=list)
    kept: Counter[Keep] = field(default_factory=Counter)  # areas, by reason

    @property
    def mapped_bytes(self) -> int:
        """Bytes that will be mapped."""
        return sum(piece.end - piece.start for piece in self.pieces if piece.offset is not None)

    @property
    def copied_bytes(self) -> int:
        """Bytes that CRIU still reads at each restore."""
        return sum(run.pages for run in self.copied) * PAGE_BYTES

    @property
    def mapped_areas(self) -> int:
        """Areas that map the page file."""
        return sum(1 for piece in self.pieces if piece.offset is not None)


def runs_of(pagemap: list[Any]) -> Iterator[Run]:
    """The runs of a pagemap (its head left out), with their place in the page file.

    Raises NotMappableError for kinds of pages that are not known here.
    """
    offset = 0
    for entry in pagemap:
        # An entry without flags is from a CRIU that had none: its pages are in the file.
        flags = entry.flags if entry.HasField("flags") else PE_PRESENT
        if entry.in_parent or flags & PE_PARENT:
            raise NotMappableError("pages lie in a parent snapshot")
        if flags & ~(PE_LAZY | PE_PRESENT) or not flags & PE_PRESENT:
            raise NotMappableError(f"the pagemap has entries of an unknown kind ({flags:#x})")
        yield Run(entry.vaddr, entry.nr_pages, offset, flags)
        offset += entry.nr_pages * PAGE_BYTES


def hold(vmas: list[Any], pagemap: list[Any], rules: Rules) -> list[Held]:
    """Each area with its pages. Both lists are sorted by address.

    Raises SnapshotInvalidError when pages lie outside every area or areas overlap, and
    NotMappableError.
    """
    held: list[Held] = []
    runs = list(runs_of(pagemap))
    position = end = 0
    for area in vmas:
        if area.start < end or area.end <= area.start:
            raise SnapshotInvalidError(f"areas overlap at {area.start:#x}")
        end = area.end
        inside: list[Run] = []
        while position < len(runs) and runs[position].start < end:
            run = runs[position]
            if run.start < area.start:
                raise SnapshotInvalidError(f"pages at {run.start:#x} lie in no area")
            if run.end > end:  # a run can span adjacent areas
                inside.append(run.part(run.start, end))
                runs[position] = run.part(end, run.end)
                break
            inside.append(run)
            position += 1
        held.append(Held(area, joined(inside), areas.reason_to_keep(area, rules)))
    if position < len(runs):
        raise SnapshotInvalidError(f"pages at {runs[position].start:#x} lie in no area")
    return held


def joined(runs: list[Run]) -> list[Run]:
    """Runs that touch, in memory and in the page file, made one (CRIU cuts them by flags)."""
    whole: list[Run] = []
    for run in runs:
        last = whole[-1] if whole else None
        if last and last.end == run.start and last.offset + last.end - last.start == run.offset:
            whole[-1] = Run(last.start, last.pages + run.pages, last.offset, last.flags | run.flags)
        else:
            whole.append(run)
    return whole


def in_place(held: list[Held], pins: Pins, min_run_pages: int = MIN_RUN_PAGES) -> Plan:
    """The plan that maps CRIU's own page file: an area a run of present pages."""
    plan = Plan()
    for one in held:
        if one.keep is not None:
            keep_whole(plan, one)
            continue
        at = one.area.start
        copied: list[Run] = []
        for run in unpinned(one.runs, pins(one), copied):
            if run.pages < min_run_pages:
                copied.append(run)
                continue
            if run.start > at:
                plan.pieces.append(Piece(one.area, at, run.start))
            plan.pieces.append(Piece(one.area, run.start, run.end, run.offset))
            at = run.end
        if at < one.area.end:
            plan.pieces.append(Piece(one.area, at, one.area.end))
        plan.copied += joined(sorted(copied, key=lambda run: run.start))
    return plan


def keep_whole(plan: Plan, one: Held) -> None:
    """Leave an area as it was: anonymous, or what else it is, and its pages copied."""
    assert one.keep is not None
    plan.kept[one.keep] += 1
    plan.pieces.append(Piece(one.area, one.area.start, one.area.end))
    plan.copied += one.runs


def unpinned(runs: list[Run], pins: list[int], copied: list[Run]) -> Iterator[Run]:
    """The runs without their pinned pages, which are added to ``copied``."""
    position = 0
    for run in runs:
        start = run.start
        while position < len(pins) and pins[position] < run.end:
            pin = pins[position]
            position += 1
            if pin < start:  # in a hole: anonymous as it is
                continue
            copied.append(run.part(pin, pin + PAGE_BYTES))
            if pin > start:
                yield run.part(start, pin)
            start = pin + PAGE_BYTES
        if start < run.end:
            yield run.part(start, run.end)
