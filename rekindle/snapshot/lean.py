"""A CRIU that starts in a third of the time: without libraries that a restore does not use.

CRIU is linked to libraries for page servers, locked connections, netlink and the titles of
processes, which a restore of ours has none of. They bring 14 more along, which are mapped, linked
and unmapped again with each restore. For restores, one small library is found by their names first.
A function of theirs that was called all the same would end CRIU with a message, so it is for a CRIU
only that finds its feature cache, and has not to look for features. Those that CRIU calls at each
start are there, and do nothing. Knows nothing of who runs it.
"""

from __future__ import annotations

import logging
import mmap
import platform
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rekindle.linux import programs
from rekindle.snapshot.criu import Criu
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Libraries that are not loaded.
_LEFT_OUT = (
    "libgnutls.so.30",
    "libnftables.so.1",
    "libnet.so.1",
    "libnl-3.so.200",
    "libbsd.so.0",
)
#: What CRIU looks for in them at its start: a variable that it has a copy of, and functions that it
#: calls, for the title that it has in ``ps``. (That of libuuid stays: by its number, restores that
#: run at the same time do not get into each other's way.)
_VARIABLES = ("gnutls_free",)
_FUNCTIONS = ("setproctitle", "setproctitle_init")
_LIBRARY_PATH = "--library-path"
_TRIAL_S = 10.0
#: Of ELF: the numbers of processors that we know, and their instruction to return.
_MACHINES = {"x86_64": 62, "aarch64": 183}
_RETURN = {62: b"\xc3", 183: b"\xc0\x03\x5f\xd6"}
_ET_DYN, _EV_CURRENT = 3, 1
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK = 1, 2, 0x6474E551
_READ, _READ_WRITE, _READ_EXECUTE = 4, 6, 5
_DT_NULL, _DT_HASH, _DT_STRTAB, _DT_SYMTAB = 0, 4, 5, 6
_DT_STRSZ, _DT_SYMENT, _DT_SONAME = 10, 11, 14
_GLOBAL_OBJECT, _GLOBAL_FUNCTION = 1 << 4 | 1, 1 << 4 | 2
_NAME = "librekindle-left-out.so"


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
        # One file under all names: the linker maps it once.
        made = directory / _NAME
        made.write_bytes(library(_NAME, _VARIABLES, _FUNCTIONS, machine))
        for name in _LEFT_OUT:
            (directory / name).unlink(missing_ok=True)
            (directory / name).hardlink_to(made)
        done = programs.run([*found.argv, "--version"], _TRIAL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("CRIU is not made lean", extra=kv(reason=error))
        return criu
    if done.returncode != 0:
        log.warning("CRIU is not made lean", extra=kv(reason=done.stderr.strip()))
        return criu
    return found


def library(name: str, variables: Sequence[str], functions: Sequence[str], machine: int) -> bytes:
    """A shared library, ELF with 64 bits, that holds these variables, a zero word each, and these
    functions, which do nothing."""
    symbols = (*variables, *functions)
    names = b"\0" + b"".join(one.encode() + b"\0" for one in (name, *symbols))
    places = [names.index(b"\0" + one.encode() + b"\0") + 1 for one in (name, *symbols)]
    headers = 64 + 4 * 56
    count = 1 + len(symbols)
    symbols_at = headers
    strings_at = symbols_at + 24 * count
    hash_at = _rounded(strings_at + len(names))
    # One bucket, and in it a chain of all symbols.
    chain = [0, *range(2, count), 0][:count]
    hashes = struct.pack(f"<{3 + count}I", 1, count, min(1, len(symbols)), *chain)
    code_at = _rounded(hash_at + len(hashes))
    dynamic_at = _rounded(code_at + len(_RETURN[machine]))
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
    end = dynamic_at + len(dynamic)
    data_at = mmap.PAGESIZE  # variables alone are written to
    table = bytes(24) + b"".join(
        struct.pack("<IBBHQQ", place, _GLOBAL_OBJECT, 0, 1, data_at + 8 * index, 8)
        for index, place in enumerate(places[1 : 1 + len(variables)])
    )
    table += b"".join(
        struct.pack("<IBBHQQ", place, _GLOBAL_FUNCTION, 0, 1, code_at, len(_RETURN[machine]))
        for place in places[1 + len(variables) :]
    )
    image = bytearray(data_at + 8 * len(variables))
    ident = b"\x7fELF" + bytes((2, 1, _EV_CURRENT)) + bytes(9)
    image[:64] = ident + struct.pack(
        *("<HHIQQQIHHHHHH", _ET_DYN, machine, _EV_CURRENT, 0, 64, 0, 0, 64, 56, 4, 64, 0, 0)
    )
    segments = (
        (_PT_LOAD, _READ_EXECUTE, 0, end, mmap.PAGESIZE),
        (_PT_LOAD, _READ_WRITE, data_at, 8 * len(variables), mmap.PAGESIZE),
        (_PT_DYNAMIC, _READ, dynamic_at, len(dynamic), 8),
        (_PT_GNU_STACK, _READ_WRITE, 0, 0, 16),
    )
    image[64:headers] = b"".join(
        struct.pack("<IIQQQQQQ", kind, rights, at, at, at, length, length, alignment)
        for kind, rights, at, length, alignment in segments
    )
    for at, part in (
        (symbols_at, table),
        (strings_at, names),
        (hash_at, hashes),
        (code_at, _RETURN[machine]),
        (dynamic_at, dynamic),
    ):
        image[at : at + len(part)] = part
    return bytes(image)


def _rounded(size: int) -> int:
    return (size + 7) // 8 * 8
