"""GPU snapshots by the driver: 50 in a row, or the feature stays off by default."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rekindle.gpu_restore import checkpoint
from rekindle.gpu_restore import cuda as driver
from rekindle.gpu_restore.checkpoint import State
from rekindle.gpu_restore.cuda import Driver

ROUNDS = 50

_HOLDS = """
import ctypes, os, sys, zlib
from rekindle.gpu_restore import cuda as driver
from rekindle.gpu_restore.device import cuda_device
gpu = cuda_device(0)
SIZE = 8 << 20
address = gpu.allocate(SIZE)
block = ctypes.create_string_buffer(os.urandom(SIZE), SIZE)
driver.load().copy_in(address, ctypes.addressof(block), SIZE)
for _line in sys.stdin:
    there = bytearray(SIZE)
    gpu.read(address, there)
    print(zlib.crc32(there), flush=True)
"""


@pytest.fixture
def cuda() -> Driver:
    """Of a driver that can."""
    library = driver.load()
    if why := checkpoint.why_not(library):
        pytest.skip(why)
    library.init()
    return library


@pytest.fixture
def process() -> Iterator[tuple[int, Callable[[], Any]]]:
    """One with memory on the GPU: its pid, and what is there."""
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def content() -> Any:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write("\n")
        child.stdin.flush()
        line = child.stdout.readline()
        assert line, f"it ended with status {child.wait()}"
        return json.loads(line)

    content()
    yield child.pid, content
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout):
        assert stream is not None
        stream.close()


def test_fifty_in_a_row_lose_nothing(cuda: Driver, process: tuple[int, Callable[[], Any]]) -> None:
    pid, content = process
    before = content()
    for number in range(ROUNDS):
        checkpoint.suspend(cuda, pid)
        assert checkpoint.state_of(cuda, pid) is State.CHECKPOINTED
        checkpoint.resume(cuda, pid)
        assert content() == before, f"round {number + 1}"


def test_a_suspended_process_has_no_device_open(
    cuda: Driver, process: tuple[int, Callable[[], Any]]
) -> None:
    pid, content = process
    before = content()
    checkpoint.suspend(cuda, pid)
    listed = subprocess.run(
        ["ls", "-l", f"/proc/{pid}/fd"], capture_output=True, text=True, check=True
    ).stdout
    assert "/dev/nvidia" not in listed
    checkpoint.resume(cuda, pid)
    assert content() == before
