"""GPU snapshots by the driver, some in a row; bench/gpu.py has as many as there is time for."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rekindle.gpu_restore import checkpoint
from rekindle.gpu_restore import cuda as driver
from rekindle.gpu_restore.checkpoint import State
from rekindle.gpu_restore.cuda import Driver
from rekindle.runtime.agent.starts.gpu_checkpoints import GpuCheckpoints

ROUNDS = 10

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


def test_many_in_a_row_lose_nothing(cuda: Driver, process: tuple[int, Callable[[], Any]]) -> None:
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


def test_a_helper_process_suspends_and_resumes_another(
    cuda: Driver, process: tuple[int, Callable[[], Any]]
) -> None:
    pid, content = process
    before = content()

    async def scenario() -> None:
        checkpoints = GpuCheckpoints()
        try:
            assert await checkpoints.why_not() == ""
            await checkpoints.suspend(pid)
            assert checkpoint.state_of(cuda, pid) is State.CHECKPOINTED
            await checkpoints.resume(pid)
        finally:
            await checkpoints.close()

    asyncio.run(scenario())
    assert content() == before


_PROGRAM = """
    import ctypes, json, os, rekindle, zlib
    app = rekindle.App("snapshots")

    @app.cls(gpu="any", enable_memory_snapshot=True, enable_gpu_snapshot=True)
    class Model:
        @rekindle.enter(snap="gpu")
        def to_gpu(self):
            from rekindle.gpu_restore import cuda
            from rekindle.gpu_restore.device import cuda_device
            self.device, content = cuda_device(0), os.urandom(1 << 20)
            self.address = self.device.allocate(1 << 20)
            area = (ctypes.c_ubyte * (1 << 20)).from_buffer_copy(content)
            cuda.load().copy_in(self.address, ctypes.addressof(area), 1 << 20)

        @rekindle.method()
        def content(self):
            there = bytearray(1 << 20)
            self.device.read(self.address, there)
            return zlib.crc32(there)

    def main():
        from rekindle.sdk.calls import records
        from rekindle.sdk.running import ask_strategy
        from rekindle.wire.phases import Strategy
        model, found = Model(), []
        with ask_strategy(Strategy.RESTORE):
            model.content.prepare(Strategy.RESTORE)
            for _ in range(ROUNDS):
                with records.collect() as made:
                    found.append([model.content.remote(), "gpu_restore" in made[-1].phases])
        print(json.dumps(found), flush=True)

    if __name__ == "__main__":
        with app.run():
            main()
"""


def test_runners_are_restored_with_their_gpu_memory(cuda: Driver, tmp_path: Path) -> None:
    pytest.importorskip("pynvml")
    rounds = 5
    script = tmp_path / "snapshots.py"
    script.write_text(textwrap.dedent(_PROGRAM).replace("ROUNDS", str(rounds)))
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == rounds
    assert len({content for content, _restored in found}) == 1
    assert all(restored for _content, restored in found), done.stderr
