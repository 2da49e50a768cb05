"""Finds the chunks that glibc's malloc mapped each on its own, by their headers in the page file.

``realloc`` grows such a chunk with ``mremap``, so its first page is pinned (see `plan`). Chunks
that lie side by side are one area to the kernel, hence the look inside. A header is a first word
of 0 and a second word of the chunk's size, whole pages, with the mark for "mapped". What only
looks like one costs a page that is copied, nothing else.
"""

from __future__ import annotations

import mmap
import struct
import time
from typing import BinaryIO

from rekindle.snapshot.mapped.areas import PAGE_BYTES
from rekindle.snapshot.mapped.plan import Held

_WORDS_OF_PAGE = PAGE_BYTES // 8
_MAPPED_MARK = 2
_WORD = struct.Struct("=Q")
#: Looked at in one go, a millisecond: longer, and the threads beside this one would stand still.
_WINDOW_PAGES = 1 << 10


class ChunkFinder:
    """Looks into one page file. Close it when done."""

    def __init__(self, pages: BinaryIO, size: int) -> None:
        # An empty file cannot be mapped, and needs not be.
        self._map = mmap.mmap(pages.fileno(), 0, prot=mmap.PROT_READ) if size else None

    def __enter__(self) -> ChunkFinder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._map is not None:
            self._map.close()

    def pins(self, held: Held) -> list[int]:
        """The first page of the area and of each chunk in it."""
        found = {held.area.start}
        for run in held.runs:
            for index, size in self._candidates(run.offset, run.pages):
                address = run.start + index * PAGE_BYTES
                if address + size <= held.area.end and self._word(run.offset, index) == 0:
                    found.add(address)
        return sorted(found)

    def _candidates(self, offset: int, pages: int) -> list[tuple[int, int]]:
        """Pages whose second word may be a chunk's size: (page's index, size)."""
        assert self._map is not None
        found: list[tuple[int, int]] = []
        for first in range(0, pages, _WINDOW_PAGES):
            count = min(_WINDOW_PAGES, pages - first)
            start = offset + first * PAGE_BYTES
            time.sleep(0)  # lets go of the interpreter's lock
            with (
                memoryview(self._map) as whole,
                whole[start : start + count * PAGE_BYTES] as window,
                window.cast("Q") as words,
                words[1::_WORDS_OF_PAGE] as seconds,
            ):
                found += [
                    (first + index, value - _MAPPED_MARK)
                    for index, value in enumerate(seconds.tolist())
                    if value & (PAGE_BYTES - 1) == _MAPPED_MARK and value > PAGE_BYTES
                ]
        return found

    def _word(self, offset: int, index: int) -> int:
        assert self._map is not None
        return int(_WORD.unpack_from(self._map, offset + index * PAGE_BYTES)[0])
