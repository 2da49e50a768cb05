"""The other layout: a file of our own in which each area has its place, holes and all.

For memory that is in so many pieces that mapping CRIU's page file run by run would take too many
areas. It costs a second copy of the mapped pages; holes take no disk space.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot.mapped.areas import PAGE_BYTES, is_file
from rekindle.snapshot.mapped.plan import (
    MIN_RUN_PAGES,
    Held,
    Piece,
    Pins,
    Plan,
    Run,
    joined,
    keep_whole,
    unpinned,
)


@dataclass(frozen=True)
class Move:
    """Pages of CRIU's file and their place in ours."""

    run: Run
    offset: int


@dataclass
class Layout:
    """A plan that maps our file, and what that file is made of."""

    plan: Plan = field(default_factory=Plan)
    moves: list[Move] = field(default_factory=list)
    size: int = 0  # bytes, holes included


def lay_out(held: list[Held], pins: Pins, min_pages: int = MIN_RUN_PAGES) -> Layout:
    """Give each area that may be mapped, and has that many pages, its place in one file."""
    layout = Layout()
    plan = layout.plan
    for one in held:
        if one.keep is not None:
            keep_whole(plan, one)
            continue
        start, end = one.area.start, one.area.end
        # What an area of a file does not have in the images is in that file, and no hole.
        if is_file(one.area) or sum(run.pages for run in one.runs) < min_pages:
            plan.pieces.append(Piece(one.area, start, end))
            plan.copied += one.runs
            continue
        base = layout.size - start
        pinned = pins(one)
        at = start
        for first, after in _spans(pinned):
            if first > at:
                plan.pieces.append(Piece(one.area, at, first, base + at))
            plan.pieces.append(Piece(one.area, first, after))
            at = after
        if at < end:
            plan.pieces.append(Piece(one.area, at, end, base + at))
        copied: list[Run] = []
        layout.moves += [Move(run, base + run.start) for run in unpinned(one.runs, pinned, copied)]
        plan.copied += joined(copied)
        layout.size += end - start
    return layout


def _spans(pins: list[int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for pin in pins:
        if spans and spans[-1][1] == pin:
            spans[-1] = (spans[-1][0], pin + PAGE_BYTES)
        else:
            spans.append((pin, pin + PAGE_BYTES))
    return spans


def write(layout: Layout, pages: Path, target: Path) -> None:
    """Write the file, read-only as it stays: CRIU refuses it with any other mode than it had when
    the images were made. Raises SnapshotInvalidError when CRIU's page file ends too soon."""
    with pages.open("rb") as source, target.open("xb") as writing:
        os.truncate(writing.fileno(), layout.size)
        for move in layout.moves:
            writing.seek(move.offset)
            copy_pages(source.fileno(), writing.fileno(), move.run, pages.name)
        os.fchmod(writing.fileno(), 0o400)


def copy_pages(source: int, target: int, run: Run, name: str) -> None:
    """Append a run to where ``target`` stands.

    Raises SnapshotInvalidError when the source ends too soon.
    """
    position, left = run.offset, run.pages * PAGE_BYTES
    while left:
        sent = os.sendfile(target, source, position, left)
        if sent == 0:
            raise SnapshotInvalidError(f"{name} is shorter than its pagemap says")
        position += sent
        left -= sent
