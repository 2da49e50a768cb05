"""Pages that children write to: which are found, and that forks copy them. Real forks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rekindle.forkserver import own_pages
from tests.pinning import REFUSE_IO_URING, needs_pinning

#: An observer, forked before the child, looks at it and its parent. Prints what it finds.
_PROGRAM = """
import ctypes, json, mmap, os, sys
from rekindle.forkserver import forking, own_pages

PAGE = mmap.PAGESIZE
def area(pages):
    memory = mmap.mmap(-1, pages * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(pages):
        memory[page * PAGE] = 1
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))
def among(found, at, pages):
    starts = [place for start, size in found for place in range(start, start + size, PAGE)]
    return sorted((place - at) // PAGE for place in starts if at <= place < at + pages * PAGE)

memory, at = area(10)
wiped, wiped_at = area(1)
wiped.madvise(18)  # MADV_WIPEONFORK
many, many_at = area(int(sys.argv[1]))
areas = own_pages.writable()
told, telling = os.pipe()
heard, saying = os.pipe()
if forking.fork(alone=True) == 0:
    pid = int(os.read(told, 20))
    found = own_pages.find(areas, (pid, os.getppid()))
    os.write(saying, json.dumps({
        "area": among(found, at, 10),
        "wiped": among(found, wiped_at, 1),
        "pages": sum(size for _start, size in found) // PAGE,
    }).encode())
    os._exit(0)
gone, going = os.pipe()
written, writing = os.pipe()
child = forking.fork(alone=True)
if child == 0:
    os.close(going)
    fresh, _ = area(3)
    wiped[0] = 2
    for page in (1, 3, 4):
        memory[page * PAGE] = 2
    for page in range(len(many) // PAGE):
        many[page * PAGE] = 2
    os.write(writing, b"x")
    os.read(gone, 1)
    os._exit(0)
memory[6 * PAGE] = 3
os.read(written, 1)
os.write(telling, str(child).encode())
print(os.read(heard, 4096).decode())
os.close(going)
os.wait(), os.wait()
"""


def _found(pages: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(pages)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_a_child_or_its_parent_writes_to_is_found_and_nothing_else() -> None:
    found = _found(1)
    assert (found["area"], found["wiped"]) == ([1, 3, 4, 6], [])


def test_a_child_that_writes_to_much_has_no_more_than_a_bound_of_it_copied_at_once() -> None:
    assert 0 < _found(own_pages.MOST_PAGES + 1)["pages"] <= own_pages.MOST_PAGES


@pytest.mark.parametrize(
    ("with_all", "of_64k", "large"),
    [
        ("always madvise [never]", "always inherit madvise [never]", False),
        ("[always] madvise never", "always inherit madvise [never]", False),
        ("always [madvise] never", "always [inherit] madvise never", False),
        ("[always] madvise never", "always [inherit] madvise never", True),
        ("always madvise [never]", "[always] inherit madvise never", True),
    ],
)
def test_memory_in_pieces_of_several_pages_is_seen(
    tmp_path: Path, with_all: str, of_64k: str, large: bool
) -> None:
    (tmp_path / "enabled").write_text(f"{with_all}\n")
    for size, said in (("64", of_64k), ("2048", "[always] inherit madvise never")):
        (tmp_path / f"hugepages-{size}kB").mkdir()
        (tmp_path / f"hugepages-{size}kB/enabled").write_text(f"{said}\n")
    assert own_pages.has_large_folios(str(tmp_path)) is large
    assert not own_pages.has_large_folios(str(tmp_path / "an older kernel"))


#: A process that forks without io_uring, or with it: prints the reason, what its forks were like,
#: and whether all is closed again.
_FORKS = f"""
{REFUSE_IO_URING}
import ctypes, json, mmap, os, resource, sys
from rekindle.forkserver.forking import Forker

if sys.argv[1] == "refused":
    refuse_io_uring()
PAGES = 100
memory = mmap.mmap(-1, PAGES * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(PAGES):
    memory[page * mmap.PAGESIZE] = 1
def links():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink("/proc/self/fd/" + fd))
        except FileNotFoundError:
            pass  # it was that of the listing
    return sorted(found)
before = links()
forker = Forker()
forker.alone = True
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
forker.pages.areas = [(at, len(memory))]
forker.pages.pin()
pinned = "anon_inode:[io_uring]" in links()
heard, saying = os.pipe()
pid = forker.fork_copy()
if pid == 0:
    held = "anon_inode:[io_uring]" in links()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for page in range(PAGES):
        memory[page * mmap.PAGESIZE] = 2
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    os.write(saying, json.dumps([held, faults]).encode())
    os._exit(0)
held, faults = json.loads(os.read(heard, 99))
os.waitpid(pid, 0)
os.close(heard), os.close(saying)
kept = "anon_inode:[io_uring]" in links()
forker.close()
print(json.dumps([forker.pages.reason, pinned, kept, held, faults, links() == before]))
"""


def _forks(how: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", _FORKS, how], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@needs_pinning
def test_a_copy_is_made_with_its_pages_and_holds_nothing_of_the_parents() -> None:
    reason, pinned, kept, held, faults, same = _forks("allowed")
    assert reason == "" and pinned and kept and not held and same
    assert faults < 50


def test_where_there_is_no_io_uring_forks_go_on_without_and_say_why() -> None:
    reason, pinned, _kept, held, faults, same = _forks("refused")
    assert reason == "[Errno 1] io_uring_setup: Operation not permitted"
    assert not pinned and not held and same
    assert faults >= 100
