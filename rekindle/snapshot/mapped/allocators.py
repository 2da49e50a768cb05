"""Which libraries of a process carry an allocator that takes discarded memory for zeros.

After ``MADV_DONTNEED`` a mapped area shows the snapshot's bytes again. glibc's malloc, mimalloc
and tcmalloc clear what they hand out as zeroed whatever they discarded before (read in their
sources, and tried: a restored process gets zeros from each), so they are not looked for: Python's
own mimalloc, active or not, does no harm. jemalloc hands discarded memory out as zeros without
looking, and a restored process was seen to read old data in ``pl.zeros()``.

jemalloc's areas can be distinguished from others: from release 5 on it maps all its memory with
MAP_NORESERVE wherever the kernel overcommits, and the kernel merges no area with that flag with
one without. Those areas stay anonymous. glibc's own with that flag (arenas of threads, stacks)
stay with them, which costs little. WebAssembly and JavaScript engines reset memory in the same
way, and theirs cannot be distinguished: such a snapshot is copied.

A library is recognised by text that its code prints or parses, not by symbols, which are stripped
or renamed. Found in a library that never ran it, it costs speed, not correctness.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle.snapshot import files
from rekindle.snapshot.mapped.areas import NotMappableError

JEMALLOC = "jemalloc"
JEMALLOC_5 = "jemalloc 5"

#: Name -> what a file that carries it contains.
_MARKERS = {
    JEMALLOC: b"<jemalloc>",  # before each of its messages
    JEMALLOC_5: b"dirty_decay_ms",  # a setting that came with release 5
    "wasmtime": b"MemoryImageSlot",
    "V8": b"max_old_space_size",
}
#: Changes whenever the markers do, so that what is remembered is found again.
_SCAN = "1"

#: A search in so much takes a tenth of a millisecond.
_PIECE_BYTES = 1 << 18

_NEVER_OVERCOMMIT = "2"


@dataclass(frozen=True)
class Library:
    """A file that the process has mapped code from."""

    path: str  # as the process sees it
    size: int | None  # when it was mapped; None where the images do not say


def inspect(
    libraries: Iterable[Library],
    *,
    root: Path = Path("/"),
    memory: Path | None = None,
    overcommit: str | None = None,
) -> tuple[str, ...]:
    """Those of the libraries whose allocator keeps areas with MAP_NORESERVE; paths.

    The libraries are found under ``root``.

    ``memory`` is a file that remembers what was found, by path, size and time of change.
    ``overcommit`` is the kernel's setting, asked for by default. Raises NotMappableError, naming
    the library.
    """
    remembered = files.recall(memory) if memory else {}
    before = dict(remembered)
    keep: list[str] = []
    for library in sorted(set(libraries), key=lambda one: one.path):
        found = _carried(library, root, remembered)
        for name in found:
            if name not in (JEMALLOC, JEMALLOC_5):
                raise NotMappableError(
                    f"{library.path} carries {name}, which takes discarded memory for zeros"
                )
        if JEMALLOC not in found:
            continue
        if JEMALLOC_5 not in found:
            raise NotMappableError(
                f"{library.path} carries a jemalloc older than 5, whose memory cannot be told apart"
            )
        keep.append(library.path)
    if memory and remembered != before:
        files.remember(memory, remembered)
    if keep and (overcommit or _overcommit()) == _NEVER_OVERCOMMIT:
        raise NotMappableError(
            f"{keep[0]} carries jemalloc, whose memory cannot be told apart where "
            "vm.overcommit_memory is 2"
        )
    return tuple(keep)


def _overcommit() -> str:
    return Path("/proc/sys/vm/overcommit_memory").read_text().strip()


def _carried(library: Library, root: Path, remembered: dict[str, Any]) -> list[str]:
    path = root / library.path.lstrip("/")
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            if library.size is not None and info.st_size != library.size:
                raise NotMappableError(
                    f"{library.path} is not the file that the process has mapped, so its "
                    "allocator is not known"
                )
            key = f"{_SCAN}:{path}:{info.st_size}:{info.st_mtime_ns}"
            if not isinstance(found := remembered.get(key), list):
                found = remembered[key] = _scan(file.fileno())
            return found
    except OSError as error:
        raise NotMappableError(
            f"{library.path} cannot be read ({error.strerror}), so its allocator is not known"
        ) from error


def _scan(fd: int) -> list[str]:
    """Read piece by piece: a search in one go would hold the interpreter's lock all the while, and
    libraries of a gigabyte would have to be read from the disk in that time."""
    found: set[str] = set()
    overlap = max(map(len, _MARKERS.values())) - 1
    piece, offset = bytearray(_PIECE_BYTES), 0
    while size := os.preadv(fd, [piece], offset):
        found.update(name for name, marker in _MARKERS.items() if piece.find(marker, 0, size) >= 0)
        if size <= overlap:
            break
        offset += size - overlap
    return [name for name in _MARKERS if name in found]
