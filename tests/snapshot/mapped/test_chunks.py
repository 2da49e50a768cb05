"""Headers of chunks that malloc mapped, found in a page file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from rekindle.snapshot.mapped import chunks
from rekindle.snapshot.mapped.areas import PAGE_BYTES
from rekindle.snapshot.mapped.chunks import ChunkFinder
from rekindle.snapshot.mapped.plan import PE_PRESENT, Held, Run
from tests.snapshot.mapped.images import at, vma


def _pages(count: int, heads: dict[int, tuple[int, int]]) -> bytes:
    content = bytearray(b"\xff" * count * PAGE_BYTES)
    for page, (first, second) in heads.items():
        struct.pack_into("=QQ", content, page * PAGE_BYTES, first, second)
    return bytes(content)


def _pins(tmp_path: Path, content: bytes, held: Held) -> list[int]:
    path = tmp_path / "pages-1.img"
    path.write_bytes(content)
    with path.open("rb") as file, ChunkFinder(file, len(content)) as finder:
        return finder.pins(held)


def _held(area_pages: int, *runs: Run) -> Held:
    return Held(vma(at(0), at(area_pages)), list(runs), None)


def test_chunks_side_by_side_are_each_found(tmp_path: Path) -> None:
    content = _pages(40, {2: (0, 10 * PAGE_BYTES | 2), 12: (0, 28 * PAGE_BYTES | 2)})
    held = _held(40, Run(at(0), 40, 0, PE_PRESENT))
    assert _pins(tmp_path, content, held) == [at(0), at(2), at(12)]


@pytest.mark.parametrize(
    "head",
    [
        (0, 10 * PAGE_BYTES | 1),  # a chunk in an arena
        (0, 10 * PAGE_BYTES),
        (0, 10 * PAGE_BYTES + 16 | 2),  # not whole pages
        (0, 90 * PAGE_BYTES | 2),  # reaches beyond its area
        (16, 10 * PAGE_BYTES | 2),
        (0, 2),
    ],
)
def test_what_is_no_header_is_not_taken_for_one(tmp_path: Path, head: tuple[int, int]) -> None:
    held = _held(40, Run(at(0), 40, 0, PE_PRESENT))
    assert _pins(tmp_path, _pages(40, {3: head}), held) == [at(0)]


def test_holes_between_runs_are_counted(tmp_path: Path) -> None:
    content = _pages(20, {10: (0, 4 * PAGE_BYTES | 2)})
    held = _held(90, Run(at(5), 10, 0, PE_PRESENT), Run(at(50), 10, 10 * PAGE_BYTES, PE_PRESENT))
    assert _pins(tmp_path, content, held) == [at(0), at(50)]


def test_memory_larger_than_a_window_is_searched_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_WINDOW_PAGES", 7)
    heads = dict.fromkeys((6, 7, 13, 14, 30), (0, 2 * PAGE_BYTES | 2))
    held = _held(40, Run(at(0), 40, 0, PE_PRESENT))
    assert _pins(tmp_path, _pages(40, heads), held) == [at(p) for p in (0, 6, 7, 13, 14, 30)]


def test_an_empty_page_file_has_no_chunks(tmp_path: Path) -> None:
    assert _pins(tmp_path, b"", _held(40)) == [at(0)]
