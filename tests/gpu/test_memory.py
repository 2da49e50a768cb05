"""The driver's calls, the copy engine and shared memory on a real GPU."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.exception import CudaError
from rekindle.gpu_restore import cuda as driver
from rekindle.gpu_restore.copying import Arena, FileRange, Memory, Piece, transfer
from rekindle.gpu_restore.device import CudaDevice
from rekindle.gpu_restore.holding.client import Connection
from tests.gpu_restore.holding.processes import listening


def _content(gpu: CudaDevice, address: int, size: int) -> bytes:
    buffer = bytearray(size)
    gpu.read(address, buffer)
    return bytes(buffer)


def test_a_gpu_has_a_name_a_uuid_and_memory(gpu: CudaDevice) -> None:
    assert gpu.name and gpu.uuid.startswith("GPU-")
    free, total = gpu.memory()
    assert 0 < free <= total


def test_too_much_memory_is_an_error_that_says_so(gpu: CudaDevice) -> None:
    with pytest.raises(CudaError, match="OUT_OF_MEMORY") as raised:
        gpu.allocate(1 << 50)
    assert raised.value.code == 2


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("chunk", [4096, 1 << 20])
def test_pieces_arrive_from_memory_and_files(
    gpu: CudaDevice, tmp_path: Path, threads: int, chunk: int
) -> None:
    data = bytearray(os.urandom((10 << 20) + 12345))
    (tmp_path / "file").write_bytes(data)
    area = (ctypes.c_ubyte * len(data)).from_buffer(data)
    half = len(data) // 2
    address = gpu.allocate(len(data) + 1000)
    with open(tmp_path / "file", "rb") as file:
        pieces = [
            Piece(0, half, Memory(ctypes.addressof(area))),
            Piece(half + 1000, len(data) - half, FileRange(file.fileno(), half)),
        ]
        arena = Arena(address, len(data) + 1000, pieces)
        done = transfer(gpu, [arena], threads=threads, chunk_bytes=chunk)
    assert done.size == len(data)
    assert _content(gpu, address, half) == data[:half]
    assert _content(gpu, address + half + 1000, len(data) - half) == data[half:]
    gpu.free(address)


def test_memory_is_shared_by_a_descriptor_within_a_process(gpu: CudaDevice) -> None:
    address = gpu.allocate_shared(1 << 20)
    shared = gpu.share(address)
    if shared.handle:
        pytest.skip("this GPU shares by handles, which one process does not open itself")
    again = gpu.open(shared)
    os.close(shared.fd)
    driver.load().copy_in(address, ctypes.addressof(ctypes.create_string_buffer(b"seen")), 4)
    assert _content(gpu, again, 4) == b"seen"
    gpu.release(again)
    assert _content(gpu, address, 4) == b"seen"
    gpu.release(address)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[str]:
    """A holder's socket."""
    with listening(tmp_path / "holder") as path:
        yield path


_USER = """
import sys
from rekindle.gpu_restore.device import cuda_device
from rekindle.gpu_restore.holding.client import Connection
gpu = cuda_device(0)
held = Connection.to(sys.argv[1], gpu).want("m")
part = bytearray(8)
gpu.read(held.places[0][0], part)
print(bytes(part).hex(), flush=True)
sys.stdin.read()
"""


def test_a_runner_that_is_killed_harms_no_one_who_shares_its_weights(
    gpu: CudaDevice, holder: str
) -> None:
    mine = Connection.to(holder, gpu)
    assert mine.want("m") is None
    ((address, _size),) = mine.allocate("m", [4 << 20]).places
    driver.load().copy_in(address, ctypes.addressof(ctypes.create_string_buffer(b"weights!")), 8)
    mine.commit("m", {}, checksums=True)
    for _ in range(3):
        user = subprocess.Popen(
            [sys.executable, "-c", _USER, holder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert user.stdout is not None and user.stdin is not None
        assert user.stdout.readline().strip() == b"weights!".hex()
        user.kill()
        user.wait()
        user.stdin.close()
        user.stdout.close()
    assert _content(gpu, address, 8) == b"weights!"
    assert mine.damaged("m") == []
    mine.close()
