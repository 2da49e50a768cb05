"""Memory that a daemon has freed is given back once it has nothing to do."""

from __future__ import annotations

import subprocess
import sys

import psutil

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
