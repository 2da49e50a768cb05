"""Memory that a daemon has freed is given back once it has nothing to do."""

from __future__ import annotations

import itertools
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from rekindle import freed_memory
from tests.e2e.harness import wait_until

_DAEMON = """
import asyncio, sys
from rekindle import freed_memory
from rekindle.linux import memory

async def main():
    task = asyncio.create_task(freed_memory.give_back_forever())
    await asyncio.sleep(0)  # it has begun
    values = [b"v" * (1 << 16) for _ in range(1000)]
    behind = b"v" * (1 << 16)  # the heap cannot end before it
    values.clear()
    print(memory.resident_bytes(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    task.cancel()

asyncio.run(main())
"""


def test_what_a_daemon_has_freed_is_given_back_when_it_is_idle() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _DAEMON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        less = int(process.stdout.readline()) - 1000 * (1 << 16) * 9 // 10
        daemon = psutil.Process(process.pid)
        wait_until(lambda: daemon.memory_info().rss < less, "the memory to be given back")
    finally:
        process.communicate()
    assert process.returncode == 0


_WITHOUT_A_DESCRIPTOR = """
import asyncio, errno, logging, os, resource, sys
from rekindle import freed_memory
from rekindle.linux import memory

class Told(logging.Handler):
    def __init__(self):
        super().__init__()
        self.told = asyncio.Event()

    def emit(self, record):
        print(record.getMessage(), flush=True)
        self.told.set()

async def main():
    handler = Told()
    logging.getLogger().addHandler(handler)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    task = asyncio.create_task(freed_memory.give_back_forever())
    await asyncio.sleep(0)  # it has begun
    values = [b"v" * (1 << 16) for _ in range(1000)]
    behind = b"v" * (1 << 16)  # the heap cannot end before it
    values.clear()
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError as error:
        assert error.errno == errno.EMFILE
    told = asyncio.ensure_future(handler.told.wait())
    await asyncio.wait([task, told], return_when=asyncio.FIRST_COMPLETED)
    for fd in taken:
        os.close(fd)
    print(memory.resident_bytes(), task.done(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    task.cancel()

asyncio.run(main())
"""


def test_a_daemon_that_had_no_descriptor_left_says_so_once_and_gives_back_after_it() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _WITHOUT_A_DESCRIPTOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "freed memory kept for now\n"
        resident, ended = process.stdout.readline().split()
        assert ended == "False"
        less = int(resident) - 1000 * (1 << 16) * 9 // 10
        daemon = psutil.Process(process.pid)
        wait_until(lambda: daemon.memory_info().rss < less, "the memory to be given back")
    finally:
        said, _ = process.communicate()
    assert (said, process.returncode) == ("", 0)


def test_what_was_in_use_is_tried_again_soon_and_then_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A daemon may have had a moment's rest while large values went through it."""
    now = 0
    clock = SimpleNamespace(monotonic=lambda: float(now), process_time=lambda: 0.0)
    resident = SimpleNamespace(resident_bytes=lambda: (200 if now else 100) << 20)
    monkeypatch.setattr(freed_memory, "time", clock)
    monkeypatch.setattr(freed_memory, "memory", resident)
    use, tried = freed_memory._Use(tried_at=0.0, used_s=0.0), []
    while now < 600:
        if use.has_freed_memory():
            tried.append(now)
        now += 1
    waits = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert waits[0] == 2 and waits == sorted(waits) and waits[-1] == 60
