"""Symbols of a library that the dynamic linker does not report: those of its static parts.

A wheel that carries a library inside its extension module hides the library's symbols, but most
leave the table of them in the file. Knows the format, and nothing of what is looked for.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian: all that we run on
_ET_EXEC = b"\x02\x00"
_SHT_SYMTAB = 2
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
STT_OBJECT = 1
STT_FUNC = 2
STT_TLS = 6

#: Tables of names that are longer are not read, as it takes tens of milliseconds: torch's, polars'.
MAX_NAMES_BYTES = 16 << 20


@dataclass(frozen=True)
class Symbol:
    """A defined symbol.

    ``value`` is relative to where the file (or, of a thread's own, its part for the thread) lies;
    it is an address where ``fixed``, in programs that lie where they were linked to.
    """

    name: str
    kind: int
    value: int
    size: int
    fixed: bool


def symbols(path: str, parts: Iterable[str]) -> list[Symbol]:
    """The symbols in a file's full table whose names contain one of ``parts``.

    Empty for a file that is stripped or of another kind. Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        tables = _tables(fd)
        if tables is None:
            return []
        symbols_at, symbols_bytes, names_at, names_bytes = tables
        names = os.pread(fd, names_bytes, names_at)
        offsets = sorted({at for part in parts for at in _names_with(names, part.encode())})
        if not offsets:
            return []
        table = os.pread(fd, symbols_bytes, symbols_at)
        fixed = os.pread(fd, 2, 16) == _ET_EXEC
    finally:
        os.close(fd)
    found = []
    for offset in offsets:
        # The entry begins with the offset of its name; other fields can look alike.
        wanted = struct.pack("<I", offset)
        at = table.find(wanted)
        while at >= 0 and at % _SYMBOL.size:
            at = table.find(wanted, at + 1)
        if at < 0:
            continue
        _name, info, _other, section, value, size = _SYMBOL.unpack_from(table, at)
        if section:  # defined here
            name = names[offset : names.index(b"\0", offset)].decode(errors="replace")
            found.append(Symbol(name, info & 15, value, size, fixed))
    return found


def _names_with(names: bytes, part: bytes) -> Iterable[int]:
    """Offsets of the names that contain ``part``."""
    at = names.find(part)
    while at >= 0:
        yield names.rfind(b"\0", 0, at) + 1
        at = names.find(part, names.index(b"\0", at))


def _tables(fd: int) -> tuple[int, int, int, int] | None:
    """Where the symbols and their names lie in a file: offset and size of each."""
    head = os.pread(fd, 64, 0)
    if len(head) < 64 or not head.startswith(_MAGIC):
        return None
    (sections_at,) = struct.unpack_from("<Q", head, 40)
    size, count = struct.unpack_from("<HH", head, 58)
    raw = os.pread(fd, size * count, sections_at)
    if size != _SECTION.size or len(raw) < size * count:
        return None
    sections = list(_SECTION.iter_unpack(raw))
    for section in sections:
        if section[1] == _SHT_SYMTAB:
            names = sections[section[6]]
            if names[5] > MAX_NAMES_BYTES:
                return None
            return section[4], section[5], names[4], names[5]
    return None
