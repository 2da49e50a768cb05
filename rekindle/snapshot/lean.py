"""A CRIU that starts in a third of the time: without libraries that a restore does not use.

CRIU is linked to gnutls and nftables, for page servers and locked connections, which we have none
of. They bring 14 more libraries along, which are mapped, linked and unmapped again with each
restore. For restores, empty libraries of their names are found first. A function of theirs that
was called all the same would end CRIU with a message, so it is for a CRIU only that finds its
feature cache, and has not to look for features. Knows nothing of who runs it.
"""

from __future__ import annotations

import logging
import platform
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rekindle.snapshot import programs
from rekindle.snapshot.criu import Criu
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Libraries, and the variables of theirs that CRIU has copies of: they are looked for at its start.
_EMPTY = {"libgnutls.so.30": ("gnutls_free",), "libnftables.so.1": ()}
_LIBRARY_PATH = "--library-path"
_TRIAL_S = 10.0
#: Of ELF: numbers of the processors that we know.
_MACHINES = {"x86_64": 62, "aarch64": 183}
_ET_DYN, _EV_CURRENT = 3, 1
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK = 1, 2, 0x6474E551
_READ_WRITE = 6
_DT_NULL, _DT_HASH, _DT_STRTAB, _DT_SYMTAB = 0, 4, 5, 6
_DT_STRSZ, _DT_SYMENT, _DT_SONAME = 10, 11, 14
_GLOBAL_OBJECT = 1 << 4 | 1
#: Larger than the pages of any processor that we know.
_ALIGNMENT = 1 << 16


def lean(criu: Criu, directory: Path) -> Criu:
    """``criu`` to restore with; itself where that cannot be, or does not start.

    Writes to ``directory``, which is made, and has to stay as long as it is run.
    """
    if len(criu.argv) < 3 or criu.argv[1] != _LIBRARY_PATH:
        return criu  # started by the machine's own loader, from where that finds libraries
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return criu
    libraries = criu.argv[2]
    found = replace(criu, argv=(*criu.argv[:2], f"{directory}:{libraries}", *criu.argv[3:]))
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        for name, variables in _EMPTY.items():
            (directory / name).write_bytes(library(name, variables, machine))
        done = programs.run([*found.argv, "--version"], _TRIAL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("CRIU is not made lean", extra=kv(reason=error))
        return criu
    if done.returncode != 0:
        log.warning("CRIU is not made lean", extra=kv(reason=done.stderr.strip()))
        return criu
    return found


def library(name: str, variables: Sequence[str], machine: int) -> bytes:
    """A shared library, ELF with 64 bits, that holds these variables, a zero word each, alone."""
    names = b"\0" + b"".join(one.encode() + b"\0" for one in (name, *variables))
    places = [names.index(b"\0" + one.encode() + b"\0") + 1 for one in (name, *variables)]
    headers = 64 + 3 * 56
    count = 1 + len(variables)
    symbols_at = headers
    strings_at = symbols_at + 24 * count
    hash_at = _rounded(strings_at + len(names))
    # One bucket, and in it a chain of all symbols.
    chain = [0, *range(2, count), 0][:count]
    hashes = struct.pack(f"<{3 + count}I", 1, count, min(1, len(variables)), *chain)
    data_at = _rounded(hash_at + len(hashes))
    dynamic_at = data_at + 8 * len(variables)
    symbols = bytes(24) + b"".join(
        struct.pack("<IBBHQQ", place, _GLOBAL_OBJECT, 0, 1, data_at + 8 * index, 8)
        for index, place in enumerate(places[1:])
    )
    entries = (
        (_DT_SONAME, places[0]),
        (_DT_HASH, hash_at),
        (_DT_STRTAB, strings_at),
        (_DT_SYMTAB, symbols_at),
        (_DT_STRSZ, len(names)),
        (_DT_SYMENT, 24),
        (_DT_NULL, 0),
    )
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    size = dynamic_at + len(dynamic)
    image = bytearray(size)
    ident = b"\x7fELF" + bytes((2, 1, _EV_CURRENT)) + bytes(9)
    image[:64] = ident + struct.pack(
        *("<HHIQQQIHHHHHH", _ET_DYN, machine, _EV_CURRENT, 0, 64, 0, 0, 64, 56, 3, 64, 0, 0)
    )
    segments = (
        (_PT_LOAD, 0, size, _ALIGNMENT),
        (_PT_DYNAMIC, dynamic_at, len(dynamic), 8),
        (_PT_GNU_STACK, 0, 0, 16),
    )
    image[64:headers] = b"".join(
        struct.pack("<IIQQQQQQ", kind, _READ_WRITE, at, at, at, length, length, alignment)
        for kind, at, length, alignment in segments
    )
    for at, part in (
        (symbols_at, symbols),
        (strings_at, names),
        (hash_at, hashes),
        (dynamic_at, dynamic),
    ):
        image[at : at + len(part)] = part
    return bytes(image)


def _rounded(size: int) -> int:
    return (size + 7) // 8 * 8
