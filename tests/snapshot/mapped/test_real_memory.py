"""What a program does with its memory after it was restored mapped, by the machine's CRIU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rekindle.snapshot.criu import Criu
from rekindle.snapshot.mapped import allocators
from rekindle.snapshot.mapped.rewrite import SPARSE, Limits
from tests.snapshot.mapped import frozen
from tests.snapshot.mapped.frozen import Frozen

pytestmark = pytest.mark.criu

_MALLOC = """
import ctypes as c, json, threading, queue
libc = c.CDLL(None)
libc.malloc.restype = libc.calloc.restype = libc.realloc.restype = c.c_void_p
libc.malloc.argtypes = [c.c_size_t]
libc.calloc.argtypes = libc.realloc.argtypes = [c.c_size_t, c.c_size_t]
libc.realloc.argtypes = [c.c_void_p, c.c_size_t]
libc.free.argtypes = [c.c_void_p]
libc.memcmp.argtypes = [c.c_void_p, c.c_void_p, c.c_size_t]
LARGEST = 24 << 20
ZEROS = libc.calloc(1, LARGEST)
def is_zero(address, size):
    return libc.memcmp(address, ZEROS, size) == 0
def filled(size):
    address = libc.malloc(size)
    c.memset(address, 0xA5, size)
    return address
def in_thread(work):
    jobs.put(work)
    return done.get(timeout=60)
jobs, done = queue.Queue(), queue.Queue()
def loop():
    while True:
        done.put(jobs.get()())
threading.Thread(target=loop, daemon=True).start()
"""


def _both(template: Frozen) -> tuple[str, str]:
    """The answer of a copy that was restored by copying, and of one that was mapped."""
    answers = []
    for images in (template.plain, template.mapped):
        with template.restored(images) as copy:
            answers.append(copy.inside.answer())
    return answers[0], answers[1]


def test_calloc_after_free_gives_zeros(criu: Criu, tmp_path: Path) -> None:
    code = f"""{_MALLOC}
SIZES = [(48, 20000), (1000, 4000), (30000, 200), (100 << 10, 60), (1 << 20, 8), (12 << 20, 2),
         (24 << 20, 1)]
def fill():
    return [(size, filled(size)) for size, count in SIZES for _ in range(count)]
blocks = [fill(), in_thread(fill)]
def check(mine):
    def check():
        dirty = []
        for size, address in mine:
            libc.free(address)
        for round in range(3):
            libc.malloc_trim(0)
            got = []
            for size, count in SIZES:
                for _ in range(count):
                    address = libc.calloc(1, size)
                    if not is_zero(address, size):
                        dirty.append(size)
                    c.memset(address, 0x5A, size)
                    got.append(address)
            for address in got:
                libc.free(address)
        return dirty
    return check
def answer():
    return json.dumps([check(blocks[0])(), in_thread(check(blocks[1]))])
"""
    template = frozen.freeze(criu, tmp_path, code)
    assert template.done.mapped_bytes > 100 << 20
    with template.restored(template.mapped) as copy:
        assert json.loads(copy.inside.answer()) == [[], []]


_GROWN = f"""{_MALLOC}
blocks = []
for number in range(12):
    size = (1 << 20) + number * 300000
    blocks.append((number + 1, size, filled(size)))
    c.memset(blocks[-1][2], number + 1, size)
lists = [list(range(number, number + 300000)) for number in range(4)]
buffers = [bytearray([number + 1]) * 2000000 for number in range(4)]
def grown(shrink):
    wrong = []
    for mark, size, address in blocks:
        kept = size
        if shrink:  # and then more than there ever was
            kept = size // 3
            address = libc.realloc(address, kept)
        address = libc.realloc(address, 16 << 20)
        c.memset(address + kept, 0xEE, (16 << 20) - kept)  # SIGBUS, if it maps a file to its end
        if c.string_at(address, kept) != bytes([mark]) * kept:
            wrong.append(mark)
        libc.free(address)
    for number, one in enumerate(lists):
        if shrink:
            del one[200000:]
        length = len(one)
        one.extend(range(600000))
        if one[:length] != list(range(number, number + length)) or one[length] != 0:
            wrong.append(f"list {{number}}")
    for number, one in enumerate(buffers):
        if shrink:
            del one[700000:]
        length = len(one)
        one.extend(b"x" * 6000000)
        if bytes(one) != bytes([number + 1]) * length + b"x" * 6000000:
            wrong.append(f"buffer {{number}}")
    return json.dumps(wrong)
"""


@pytest.mark.parametrize("laid_out", [False, True], ids=["in place", "laid out"])
def test_what_malloc_mapped_can_be_reallocated(criu: Criu, tmp_path: Path, laid_out: bool) -> None:
    limits = Limits(in_place_areas=1, sparse_gain=0) if laid_out else None
    shrink = tmp_path / "shrink"
    code = f"{_GROWN}\nimport os\ndef answer(): return grown(os.path.exists({str(shrink)!r}))"
    template = frozen.freeze(criu, tmp_path, code, limits=limits)
    assert template.done.mapped_bytes > 20 << 20
    with template.restored(template.mapped) as copy:
        assert copy.inside.answer() == "[]"
    shrink.touch()
    with template.restored(template.mapped) as copy:
        assert copy.inside.answer() == "[]"


@pytest.mark.parametrize("map_huge_pages", [False, True])
def test_large_arrays_advised_for_huge_pages_work_and_can_be_resized(
    criu: Criu, tmp_path: Path, map_huge_pages: bool
) -> None:
    code = """
import numpy, json
arrays = [numpy.full((1 + n) << 20, n + 1, dtype=numpy.int64) for n in range(3)]
def answer():
    found = []
    for one in arrays:
        length = len(one)
        found.append(int(one.sum()))
        one.resize(9 << 20, refcheck=False)
        found.append([int(one[:length].sum()), int(one[length:].sum())])
        one += 1
        found.append([int(one.sum()), int(numpy.zeros(4 << 20).sum())])
    return json.dumps(found)
"""
    template = frozen.freeze(criu, tmp_path, code, map_huge_pages=map_huge_pages)
    assert (template.done.mapped_bytes > 48 << 20) is map_huge_pages
    copied, mapped = _both(template)
    assert mapped == copied


def test_the_heap_goes_on_growing_and_shrinks(criu: Criu, tmp_path: Path) -> None:
    code = f"""{_MALLOC}
blocks = [filled(60000) for _ in range(400)]
def answer():
    before = libc.sbrk(0)
    more = [filled(60000) for _ in range(800)]
    grown = libc.sbrk(0) - before
    intact = all(c.string_at(one, 60000) == bytes([0xA5]) * 60000 for one in blocks + more)
    for one in more + blocks:
        libc.free(one)
    libc.malloc_trim(0)
    shrunk = libc.sbrk(0) < before + grown
    again = libc.calloc(100, 60000)
    return json.dumps([grown > 30 << 20, intact, shrunk, is_zero(again, 6000000)])
libc.sbrk.restype = c.c_void_p
"""
    template = frozen.freeze(criu, tmp_path, code)
    assert template.done.mapped_bytes > 20 << 20
    assert _both(template) == ("[true, true, true, true]",) * 2


#: Blocks as weights are, in the heap of a template; the last one is at its end.
_HEAP = f"""{_MALLOC}
from rekindle.linux import memory
memory.keep_blocks_in_the_heap()
libc.sbrk.restype = c.c_void_p
SIZE = 24 << 20
blocks = [filled(SIZE - 4096 * number) for number in range(5)]
in_thread(lambda: blocks.append(filled(SIZE)))
memory.return_freed_memory()
"""


def test_large_blocks_of_a_heap_are_one_area_and_can_be_freed_and_had_again(
    criu: Criu, tmp_path: Path
) -> None:
    code = f"""{_HEAP}
def areas():
    return sum(blocks[0] < int(line.split("-")[0], 16) < blocks[4]
               for line in open("/proc/self/maps"))
def intact(*numbers):
    return all(c.string_at(blocks[n], 4096 * 9) == bytes([0xA5]) * 4096 * 9 for n in numbers)
def answer():
    found = [areas()]
    end = libc.sbrk(0)
    libc.free(blocks[4])  # the end of the heap, which is more than may stay free with what follows
    libc.free(blocks[3])
    libc.free(blocks[2])
    found.append(end - libc.sbrk(0) > 64 << 20)
    again = [libc.calloc(1, SIZE) for _ in range(4)]
    found.append([is_zero(one, SIZE) for one in again])
    for one in again:
        c.memset(one, 0x5A, SIZE)
        libc.free(one)
    libc.free(blocks[0])  # a hole before what stays
    libc.malloc_trim(0)
    zeros = libc.calloc(1, SIZE - 4096)
    found.append([zeros == blocks[0], is_zero(zeros, SIZE - 4096), intact(1, 5)])
    grown = libc.realloc(blocks[1], 31 << 20)
    found.append(c.string_at(grown, SIZE - 4096) == bytes([0xA5]) * (SIZE - 4096))
    c.memset(grown, 0xEE, 31 << 20)
    in_thread(lambda: libc.free(blocks[5]))
    cleared = in_thread(lambda: libc.calloc(1, SIZE))
    found.append(is_zero(cleared, SIZE))
    return json.dumps(found)
"""
    template = frozen.freeze(criu, tmp_path, code)
    assert template.done.mapped_bytes > 100 << 20
    copied, mapped = _both(template)
    zero = [True] * 4
    assert json.loads(copied)[1:] == [True, zero, [True, True, True], True, True]
    assert json.loads(mapped) == [0, *json.loads(copied)[1:]]


def test_areas_take_what_a_program_does_to_them(criu: Criu, tmp_path: Path) -> None:
    code = """
import mmap, json
SIZE = 4 << 20
memory = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory[:] = b"a" * SIZE
def answer():
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    address = ctypes.c_size_t(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    done = [libc.mprotect(address, SIZE, rights) for rights in (1, 0, 7, 3)]
    done.append(libc.mlock(address, SIZE))
    done.append(libc.munlock(address, SIZE))
    memory[100:200] = b"b" * 100
    return json.dumps([done, memory[:300].decode()])
"""
    template = frozen.freeze(criu, tmp_path, code)
    copied, mapped = _both(template)
    assert mapped == copied
    assert json.loads(mapped)[0] == [0] * 6


def test_two_processes_and_threads_in_one_snapshot(criu: Criu, tmp_path: Path) -> None:
    code = """
import os, threading, hashlib, json
shared_before = bytearray(os.urandom(1 << 20)) * 8
to_child, from_parent = os.pipe()[::-1]
from_child, to_parent = os.pipe()
def digest():
    return hashlib.sha256(shared_before).hexdigest()
if os.fork() == 0:
    shared_before[::8192] = b"c" * len(shared_before[::8192])
    own = bytearray(os.urandom(1 << 20)) * 4
    while os.read(from_parent, 1):
        both = digest() + hashlib.sha256(own).hexdigest()
        own[::4096] = b"x" * len(own[::4096])
        os.write(to_parent, both.encode())
    os._exit(0)
def ask():
    os.write(to_child, b"?")
    return os.read(from_child, 128).decode()
ready, go, answers = threading.Barrier(4), threading.Barrier(4), []
def thread():
    stack = bytearray(os.urandom(300000)) * 4
    ready.wait()
    while True:
        go.wait()
        answers.append(hashlib.sha256(stack).hexdigest())
        go.wait()
for _ in range(3):
    threading.Thread(target=thread, daemon=True).start()
ready.wait()
def answer():
    del answers[:]
    go.wait(); go.wait()
    return json.dumps([digest(), ask(), sorted(answers)])
"""
    template = frozen.freeze(criu, tmp_path, code)
    assert template.done.processes == 2
    files = template.page_files()
    copied, mapped = _both(template)
    assert mapped == copied
    with template.restored(template.mapped) as copy:
        first = copy.inside.answer()
        assert first == copied
        assert copy.inside.answer() != first  # the child wrote
    assert template.page_files() == files


def test_memory_with_thousands_of_holes_is_laid_out(criu: Criu, tmp_path: Path) -> None:
    code = """
import mmap, hashlib
RUN = 9 * 4096
memory = mmap.mmap(-1, 3000 * RUN, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for run in range(3000):
    memory[run * RUN : run * RUN + RUN - 4096] = bytes([run % 255 + 1]) * (RUN - 4096)
def answer():
    return hashlib.sha256(memory).hexdigest()
"""
    template = frozen.freeze(criu, tmp_path, code, limits=Limits(in_place_areas=1000))
    assert template.done.layout == SPARSE
    assert template.done.areas < 300
    copied, mapped = _both(template)
    assert mapped == copied


# ---- allocators that take discarded memory for zeros ---------------------------------------

#: What is freed is purged at once, as it would be a few seconds later.
_POLARS = """
import os
os.environ["POLARS_MAX_THREADS"] = "1"
os.environ["_RJEM_MALLOC_CONF"] = "dirty_decay_ms:0,muzzy_decay_ms:0"
import gc
import polars
kept = [polars.zeros(1_000_000, dtype=polars.Int64, eager=True) + 7 for _ in range(4)]
def answer():
    kept.clear()
    gc.collect()
    got = [polars.zeros(1_000_000, dtype=polars.Int64, eager=True) for _ in range(8)]
    return sum(int((one != 0).sum()) for one in got)
"""


def test_polars_gets_zeros_as_its_memory_stays_anonymous(criu: Criu, tmp_path: Path) -> None:
    template = frozen.freeze(criu, tmp_path, _POLARS)
    (library,) = template.done.kept_for
    assert "polars" in library
    assert template.done.mapped_bytes > 5 << 20  # and the rest is mapped all the same
    with template.restored(template.mapped) as copy:
        assert copy.inside.answer() == "0"


def test_polars_would_get_old_data_if_its_memory_were_mapped(
    criu: Criu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocators, "inspect", lambda *_, **__: ())
    template = frozen.freeze(criu, tmp_path, _POLARS)
    with template.restored(template.mapped) as copy:
        assert copy.inside.answer() != "0"
