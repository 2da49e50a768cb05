"""Properties of both layouts, over random areas and pagemaps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot.mapped import areas, plan, sparse
from rekindle.snapshot.mapped.areas import PAGE_BYTES, Keep, NotMappableError, Rules
from rekindle.snapshot.mapped.plan import PE_LAZY, PE_PRESENT, Held, Plan, Run
from tests.snapshot.mapped.images import at, file_vma, pages, vma

_RULES = Rules(small_bytes=8 * PAGE_BYTES)


@dataclass
class Memory:
    """Areas, the pages present in them, and their pagemap as CRIU might cut it."""

    areas: list[Any]
    present: list[int]  # addresses
    pagemap: list[Any]
    pins: set[int]

    def held(self) -> list[Held]:
        return plan.hold(self.areas, self.pagemap, _RULES)

    def pins_of(self, held: Held) -> list[int]:
        return sorted(pin for pin in self.pins if held.area.start <= pin < held.area.end)

    @property
    def offsets(self) -> dict[int, int]:
        """Where the page file has each page."""
        return {address: number * PAGE_BYTES for number, address in enumerate(self.present)}


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    page = 0
    found: list[Any] = []
    present: list[int] = []
    for _ in range(draw(st.integers(1, 6))):
        page += draw(st.sampled_from([0, 0, 1, 5]))  # adjacent areas, or not
        length = draw(st.integers(1, 48))
        kind = draw(st.sampled_from(["plain", "plain", "plain", "locked", "huge", "file"]))
        start, end = at(page), at(page + length)
        if kind == "file":
            found.append(file_vma(start, end, 3, pgoff=8 * PAGE_BYTES))
        elif kind == "locked":
            found.append(vma(start, end, flags=0x22 | areas.MAP_LOCKED))
        elif kind == "huge":
            found.append(vma(start, end, madv=areas.MADV_HUGEPAGE))
        else:
            found.append(vma(start, end))
        inside = draw(st.integers(0, 2**length - 1))
        if draw(st.booleans()):
            inside |= draw(st.integers(0, 2**length - 1)) | (2**length - 1) >> length // 2
        present += [at(page + bit) for bit in range(length) if inside >> bit & 1]
        page += length
    pagemap: list[Any] = []
    cuts = draw(st.sets(st.sampled_from(present))) if present else set()
    for address in present:
        last = pagemap[-1] if pagemap else None
        if last and last.vaddr + last.nr_pages * PAGE_BYTES == address and address not in cuts:
            last.nr_pages += 1  # across the border of areas, too
        else:
            flags = draw(st.sampled_from([PE_PRESENT, PE_PRESENT | PE_LAZY]))
            pagemap.append(pages(address, 1, flags))
    pins = draw(st.sets(st.sampled_from([at(number) for number in range(page)]), max_size=5))
    return Memory(found, present, pagemap, pins | {area.start for area in found})


def _covered(runs: list[Run]) -> list[int]:
    return [run.start + number * PAGE_BYTES for run in runs for number in range(run.pages)]


def _assert_pieces_tile(chosen: Plan, memory: Memory) -> None:
    tiles = iter(chosen.pieces)
    for area in memory.areas:
        position = area.start
        while position < area.end:
            piece = next(tiles)
            assert piece.area is area
            assert piece.start == position < piece.end <= area.end
            position = piece.end
    assert next(tiles, None) is None


def _assert_pins_stay(chosen: Plan, memory: Memory) -> None:
    mapped = [piece for piece in chosen.pieces if piece.offset is not None]
    assert not [pin for pin in memory.pins for one in mapped if one.start <= pin < one.end]


def _assert_copies_are_right(chosen: Plan, memory: Memory) -> None:
    assert [run.start for run in chosen.copied] == sorted(run.start for run in chosen.copied)
    assert max(Counter(_covered(chosen.copied)).values(), default=1) == 1
    for run in chosen.copied:
        for number in range(run.pages):
            page = number * PAGE_BYTES
            assert memory.offsets[run.start + page] == run.offset + page


@given(memories(), st.integers(1, 12))
def test_in_place_each_present_page_is_mapped_at_its_offset_or_copied_once(
    memory: Memory, min_run_pages: int
) -> None:
    chosen = plan.in_place(memory.held(), memory.pins_of, min_run_pages)
    _assert_pieces_tile(chosen, memory)
    _assert_pins_stay(chosen, memory)
    _assert_copies_are_right(chosen, memory)
    mapped: list[int] = []
    for piece in chosen.pieces:
        if piece.offset is None:
            continue
        assert piece.end - piece.start >= min_run_pages * PAGE_BYTES
        for address in range(piece.start, piece.end, PAGE_BYTES):
            assert memory.offsets[address] == piece.offset + address - piece.start
            mapped.append(address)
    assert sorted(mapped + _covered(chosen.copied)) == memory.present
    assert chosen.mapped_bytes == len(mapped) * PAGE_BYTES
    assert chosen.copied_bytes == (len(memory.present) - len(mapped)) * PAGE_BYTES


@given(memories(), st.integers(1, 12))
def test_laid_out_each_present_page_is_moved_to_where_it_is_mapped_or_copied_once(
    memory: Memory, min_pages: int
) -> None:
    layout = sparse.lay_out(memory.held(), memory.pins_of, min_pages)
    chosen = layout.plan
    _assert_pieces_tile(chosen, memory)
    _assert_pins_stay(chosen, memory)
    _assert_copies_are_right(chosen, memory)
    place: dict[int, int] = {}  # address -> bytes into the laid-out file
    for piece in chosen.pieces:
        if piece.offset is not None:
            assert piece.offset + piece.end - piece.start <= layout.size
            assert not areas.is_file(piece.area)  # its holes are not zeros
            for address in range(piece.start, piece.end, PAGE_BYTES):
                place[address] = piece.offset + address - piece.start
    assert len(set(place.values())) == len(place)
    moved: list[int] = []
    for move in layout.moves:
        for number in range(move.run.pages):
            page = number * PAGE_BYTES
            assert place[move.run.start + page] == move.offset + page
            assert memory.offsets[move.run.start + page] == move.run.offset + page
            moved.append(move.run.start + page)
    assert sorted(moved + _covered(chosen.copied)) == memory.present


def test_a_run_that_spans_areas_is_cut_at_their_border() -> None:
    memory = [vma(at(0), at(20)), vma(at(20), at(40), prot=1)]
    held = plan.hold(memory, [pages(at(10), 20)], _RULES)
    assert [one.runs for one in held] == [
        [Run(at(10), 10, 0, PE_PRESENT)],
        [Run(at(20), 10, 10 * PAGE_BYTES, PE_PRESENT)],
    ]


def test_a_run_that_spans_three_areas_is_cut_twice() -> None:
    memory = [vma(at(10 * n), at(10 * n + 10)) for n in range(3)]
    held = plan.hold(memory, [pages(at(5), 20)], _RULES)
    assert [[run.pages for run in one.runs] for one in held] == [[5], [10], [5]]


def test_runs_that_touch_are_one_whatever_their_flags() -> None:
    held = plan.hold(
        [vma(at(0), at(40))],
        [pages(at(4), 6), pages(at(10), 6, PE_PRESENT | PE_LAZY), pages(at(17), 3)],
        _RULES,
    )
    assert [(run.start, run.pages, run.offset) for run in held[0].runs] == [
        (at(4), 12, 0),
        (at(17), 3, 12 * PAGE_BYTES),
    ]


def test_short_runs_are_copied_and_long_ones_mapped() -> None:
    held = plan.hold([vma(at(0), at(100))], [pages(at(1), 7), pages(at(20), 8)], _RULES)
    chosen = plan.in_place(held, lambda _: [at(0)])
    assert [run.start for run in chosen.copied] == [at(1)]
    assert [piece.offset for piece in chosen.pieces] == [None, 7 * PAGE_BYTES, None]


def test_kept_areas_are_counted_by_reason() -> None:
    held = plan.hold([vma(at(0), at(2)), vma(at(4), at(40), prot=7)], [], _RULES)
    assert plan.in_place(held, lambda _: []).kept == {Keep.SMALL: 1, Keep.EXECUTABLE: 1}


@pytest.mark.parametrize(
    "entry", [pages(at(1), 1, flags=1), pages(at(1), 1, flags=8), pages(at(1), 1, flags=0)]
)
def test_pages_of_an_unknown_kind_are_not_mapped(entry: Any) -> None:
    with pytest.raises(NotMappableError, match=r"parent snapshot|unknown kind"):
        plan.hold([vma(at(0), at(40))], [entry], _RULES)


@pytest.mark.parametrize("page", [0, 9, 30])
def test_pages_outside_every_area_mean_a_damaged_image(page: int) -> None:
    with pytest.raises(SnapshotInvalidError, match="in no area"):
        plan.hold([vma(at(5), at(8)), vma(at(10), at(20))], [pages(at(page), 1)], _RULES)


def test_areas_that_overlap_mean_a_damaged_image() -> None:
    with pytest.raises(SnapshotInvalidError, match="overlap"):
        plan.hold([vma(at(5), at(8)), vma(at(7), at(20))], [], _RULES)
