"""The working set of a mapped snapshot: which parts of which files the first calls touch.

On a cold page cache each first touch is a disk read: of the snapshot's page files, and of the
libraries that the process has mapped. What runners touched in their first call is read off their
page tables and kept with the snapshot; the next restore reads it ahead, in file order. A hint,
not data: a missing or broken one costs time, nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rekindle.linux import maps
from rekindle.linux.files import PAGE_BYTES, SAMPLES, is_cached, read_ahead
from rekindle.snapshot import files
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

NAME = "working-set.json"
#: Ranges with a smaller gap between them are read as one: a seek costs more than the gap.
JOIN_BYTES = 128 << 10

# /proc/PID/pagemap: 64 bits a page (Documentation/admin-guide/mm/pagemap.rst).
# Bit 63: present, bit 62: swapped.
_PRESENT_OR_SWAPPED = re.compile(rb"[\x40-\xff]+")
_HIGHEST_BYTE = 7 if sys.byteorder == "little" else 0
_PAGEMAP_CHUNK = 1 << 17  # pages

Range = tuple[int, int]  # offset and length in bytes


@dataclass(frozen=True)
class WorkingSet:
    """Ranges in file order, by file: a path in the snapshot's directory, or an absolute one."""

    ranges: dict[str, list[Range]]

    @property
    def bytes(self) -> int:
        """Bytes in all ranges."""
        return sum(length for ranges in self.ranges.values() for _offset, length in ranges)

    def joined_with(self, other: WorkingSet) -> WorkingSet:
        """What is in either."""
        names = self.ranges.keys() | other.ranges.keys()
        return WorkingSet(
            {
                name: _join(sorted([*self.ranges.get(name, []), *other.ranges.get(name, [])]))
                for name in names
            }
        )


def of_process(pid: int, directory: Path, on_node: Callable[[str], str] = str) -> WorkingSet:
    """What a process has touched of the files that it maps. Raises OSError if it is gone.

    Files of the snapshot in ``directory`` are named relative to it. ``on_node``: where the node has
    what the process sees at a path, "" where it has not.

    Overestimates: the kernel maps cached neighbours of a touched page too, 64 KiB around it, or the
    whole 2 MiB where the page cache holds a huge page.
    """
    found: dict[str, list[Range]] = {}
    links = _linked(directory)
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for area in maps.mappings(pid):
            # Not devices, and not what has no file behind it any more.
            path = on_node(area.path) if area.path.startswith("/") else ""
            if path and os.path.isfile(path):
                name = links.get(path) or path.removeprefix(f"{directory}/")
                touched = _touched(pagemap.fileno(), area.start, area.end, area.offset)
                found.setdefault(name, []).extend(touched)
    return WorkingSet({name: _join(sorted(ranges)) for name, ranges in found.items()})


def _linked(directory: Path) -> dict[str, str]:
    """Page files that lie elsewhere as long as they are on their way: path -> name in here."""
    return {
        os.path.realpath(path): str(path.relative_to(directory))
        for path in directory.glob("*/*pages-*")
        if path.is_symlink()
    }


def _touched(pagemap: int, start: int, end: int, offset: int) -> Iterator[Range]:
    page, last = start // PAGE_BYTES, end // PAGE_BYTES
    while page < last:
        count = min(_PAGEMAP_CHUNK, last - page)
        entries = os.pread(pagemap, count * 8, page * 8)
        if len(entries) < count * 8:
            raise ProcessLookupError("the process ended while its page tables were read")
        # The highest byte of each entry has the bits; a pattern finds the runs without a loop that
        # would keep the agent from its other work.
        for run in _PRESENT_OR_SWAPPED.finditer(entries[_HIGHEST_BYTE::8]):
            begin, end_of_run = ((page + one) * PAGE_BYTES for one in run.span())
            yield offset + begin - start, end_of_run - begin
        page += count


def _join(ranges: list[Range]) -> list[Range]:
    joined: list[Range] = []
    for offset, length in ranges:
        if joined and offset - sum(joined[-1]) <= JOIN_BYTES:
            begin = joined[-1][0]
            joined[-1] = (begin, max(sum(joined[-1]), offset + length) - begin)
        else:
            joined.append((offset, length))
    return joined


def save(directory: Path, working_set: WorkingSet) -> None:
    """Keep it with a snapshot. Raises OSError."""
    files.write_durably(directory / NAME, json.dumps(working_set.ranges))


def load(directory: Path) -> WorkingSet | None:
    """The one that is kept with a snapshot; None when there is none that can be read."""
    raw = files.recall(directory / NAME)
    try:
        ranges = {name: [(int(at), int(size)) for at, size in one] for name, one in raw.items()}
    except (ValueError, TypeError) as error:
        log.warning("working set unreadable", extra=kv(path=directory, reason=error))
        return None
    return WorkingSet(ranges) if ranges else None


def prefetch(directory: Path, working_set: WorkingSet) -> int:
    """Have the kernel read the ranges that are not cached; bytes asked for.

    Returns when all is asked for, not when it is read; the order is that of the file.
    """
    asked = 0
    for name, ranges in sorted(working_set.ranges.items()):
        try:
            fd = os.open(directory / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            log.warning("no prefetch", extra=kv(file=name, reason=error))
            continue
        try:
            if not _is_cached(fd, ranges):
                for offset, length in ranges:
                    read_ahead(fd, offset, length)
                asked += sum(length for _offset, length in ranges)
        finally:
            os.close(fd)
    return asked


def _is_cached(fd: int, ranges: list[Range]) -> bool:
    """Whether a sample of the pages is in the page cache.

    A read that does not wait still starts the kernel's read-ahead; without the advice, one miss
    would bring in, and so answer for, the samples after it.
    """
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    total = sum(length for _offset, length in ranges)
    step = max(PAGE_BYTES, total // SAMPLES)
    position = 0  # within the ranges laid end to end
    for offset, length in ranges:
        while position < length:
            if not is_cached(fd, offset + position):
                return False
            position += step
        position -= length
    return True
