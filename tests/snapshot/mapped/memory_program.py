"""A template that builds memory from a recipe. Run by the tests as a script's text, standard
library only; `BUILD` stands before the recipe, see `program`.

Areas are made by bare system calls, so that nothing but the recipe decides where they are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

_BUILD = """
import ctypes as _c
_libc = _c.CDLL(None, use_errno=True)
_PAGE = 4096
_libc.mmap.restype = _libc.mremap.restype = _libc.sbrk.restype = _c.c_void_p
_libc.mmap.argtypes = [_c.c_void_p, _c.c_size_t, _c.c_int, _c.c_int, _c.c_int, _c.c_long]
_libc.mremap.argtypes = [_c.c_void_p, _c.c_size_t, _c.c_size_t, _c.c_int]
_libc.munmap.argtypes = [_c.c_void_p, _c.c_size_t]
_libc.mprotect.argtypes = _libc.madvise.argtypes = [_c.c_void_p, _c.c_size_t, _c.c_int]
_libc.mlock.argtypes = [_c.c_void_p, _c.c_size_t]
_libc.sbrk.argtypes = [_c.c_long]
_libc.memfd_create.argtypes = [_c.c_char_p, _c.c_uint]
_FAILED = _c.c_void_p(-1).value
_FLAGS = {"anonymous": 0x22, "unreserved": 0x4022, "shared": 0x21, "growing": 0x122,
          "file": 0x02, "memfd": 0x02}
_ADVICE = {"discard": 4, "free": 8, "huge": 14, "no huge": 15, "no fork": 10, "wipe on fork": 18}
_RIGHTS = {"read only": 1, "no access": 0, "writable": 3}

def _checked(value, what):
    if value in (_FAILED, None) or value == -1:
        raise OSError(_c.get_errno(), what)
    return value

def _map(kind, size, beside):
    import os
    fd, flags = -1, _FLAGS[kind]
    if kind == "memfd":
        fd = _libc.memfd_create(b"layout", 0)
        os.write(fd, b"m" * size)
    elif kind == "file":
        fd = os.open(_file, os.O_RDONLY)
    wanted = None
    if beside:  # right below the area before it, where that is free
        wanted, flags = beside - size, flags | 0x100000
    start = _libc.mmap(wanted, size, 3, flags, fd, 0)
    if start == _FAILED:
        start = _checked(_libc.mmap(None, size, 3, flags & ~0x100000, fd, 0), "mmap")
    if fd >= 0:
        os.close(fd)
    return start

def _fill(start, count, mark):
    for page in range(count):
        _c.memset(start + page * _PAGE, (mark + page) % 255 + 1, _PAGE)

def _build(recipe):
    made, beside = [], None
    for number, area in enumerate(recipe):
        size = area["pages"] * _PAGE
        if area["kind"] == "heap":
            start = _checked(_libc.sbrk(size), "sbrk")
            start = -(-start // _PAGE) * _PAGE
            size -= _PAGE
        else:
            start = _map(area["kind"], size, beside if area["beside"] else None)
            beside = start
        rights = 3
        for name, first, count in area["steps"]:
            first = min(first, size // _PAGE - 1)
            count = min(count, size // _PAGE - first)
            at, length = start + first * _PAGE, count * _PAGE
            if name == "fill" and rights == 3:
                _fill(at, count, number * 31)
            elif name == "zeros" and rights == 3:
                _c.memset(at, 0, length)
            elif name in _ADVICE:
                _libc.madvise(at, length, _ADVICE[name])  # not all areas take all advice
            elif name in _RIGHTS:
                rights = _RIGHTS[name] if name == "writable" else 0
                _checked(_libc.mprotect(at, length, _RIGHTS[name]), name)
                if name == "writable":
                    _checked(_libc.mprotect(start, size, 3), name)
            elif name == "lock":
                _libc.mlock(at, length)
            elif name == "hole" and area["kind"] != "heap" and first > 0 and rights == 3:
                _checked(_libc.munmap(at, length), name)
                size = first * _PAGE
            elif name == "grow" and area["kind"] == "anonymous" and rights == 3:
                moved = _libc.mremap(start, size, size + length, 1)
                if moved != _FAILED:
                    start, size = moved, size + length
                    beside = start
        made.append((start, size))
    return made

def _overwrite():
    import mmap
    written = 0
    for line in open("/proc/self/maps"):
        span, rights = line.split()[:2]
        low, high = (int(part, 16) for part in span.split("-"))
        if not rights.startswith("rw-p"):
            continue
        for start, size in _made:
            for at in range(max(low, start), min(high, start + size), _PAGE):
                _c.memset(at, 0xEE, _PAGE)
                written += 1
    return written

def answer():
    return _overwrite()
"""


@dataclass(frozen=True)
class Area:
    """One area of a recipe: what it is, and what is done to it, in order."""

    kind: str
    pages: int
    beside: bool
    steps: tuple[tuple[str, int, int], ...]  # (what, first page, pages)


def program(recipe: list[Area], file: Path) -> str:
    """The template's code. Its ``answer()`` overwrites all that the recipe made, where it may, and
    returns the number of pages. ``file`` is what areas of a file map."""
    areas = [asdict(area) for area in recipe]
    return f"{_BUILD}\n_file = {str(file)!r}\n_made = _build({areas!r})\n"
