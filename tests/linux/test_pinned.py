"""Pages that a fork copies, as they are pinned. Real forks and a real io_uring."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from rekindle.linux import pinned
from tests import descriptors
from tests.pinning import needs_pinning

#: In a process of its own, which is forked: prints how many faults each of three children had for
#: writing to so many pages, and what its memory and descriptors were afterwards.
_PROGRAM = """
import ctypes, json, mmap, os, resource
from rekindle.forkserver import forking
from rekindle.linux import pinned

PAGES = 200
memory = mmap.mmap(-1, 2 * PAGES * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
places = range(0, len(memory), 2 * mmap.PAGESIZE)
for place in range(0, len(memory), mmap.PAGESIZE):
    memory[place] = 1
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def child(close=-1):
    reading, writing = os.pipe()
    pid = forking.fork(alone=True)
    if pid == 0:
        if close >= 0:
            os.close(close)
        before = faults()
        for place in places:
            memory[place] += 1
        took = faults() - before
        os.write(writing, json.dumps([took, [memory[place] for place in places]]).encode())
        os._exit(0)
    before = faults()
    for place in places:
        memory[place] = 1
    took = faults() - before
    os.close(writing)
    with open(reading, "rb") as said:
        in_child, seen = json.load(said)
    os.waitpid(pid, 0)
    return [in_child, took, set(seen) == {2}]

fds = os.listdir("/proc/self/fd")
without = child()
ring = pinned.pin([(at + place, mmap.PAGESIZE) for place in places])
first, second = child(ring), child(ring)
os.close(ring)
print(json.dumps({
    "without": without,
    "with": [first, second],
    "ours": all(memory[place] == 1 for place in places),
    "same": os.listdir("/proc/self/fd") == fds,
}))
"""


@needs_pinning
def test_what_is_pinned_costs_no_fault_on_either_side_and_each_child_has_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    in_child, _in_parent, right = found["without"]
    assert in_child >= 200 and right
    for in_child, in_parent, right in found["with"]:
        assert right and in_child < 50 and in_parent < 50
    assert found["ours"] and found["same"]


@needs_pinning
def test_what_is_not_there_is_refused_and_nothing_stays_open() -> None:
    before = descriptors.opened()
    with pytest.raises(OSError, match="io_uring_register: Bad address"):
        pinned.pin([(4096, 4096)])
    assert not descriptors.newly_open(before)
