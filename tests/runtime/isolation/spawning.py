"""A real spawner for a test, and the owner of one that is killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import psutil

from rekindle.runtime.isolation.sandbox import Sandbox, Worker
from rekindle.runtime.isolation.spawner_client import Spawner

#: The number of a worker's socket there.
CHANNEL_FD = 8

_OWNER = """
import asyncio, sys
from pathlib import Path
from rekindle.runtime.isolation.sandbox import Worker
from rekindle.runtime.isolation.spawner_client import Spawner
async def main():
    spawner = await Spawner.start(Path(sys.argv[1]))
    for _ in range(3):
        %s
    print("ready", flush=True)
    await asyncio.sleep(99)
asyncio.run(main())
"""


def with_spawner(tmp_path: Path, scenario: Callable[[Spawner], Awaitable[None]]) -> None:
    """Run ``scenario`` with a spawner that ends with it."""

    async def main() -> None:
        spawner = await Spawner.start(tmp_path / "kdat")
        try:
            await scenario(spawner)
        finally:
            await spawner.stop()

    asyncio.run(main())


async def worker_in(
    spawner: Spawner,
    code: str,
    fds: Mapping[int, int] | None = None,
    run_dir: str = "",
    binds: Sequence[Mapping[str, object]] = (),
) -> Sandbox:
    """A worker that runs this Python code."""
    worker = Worker([sys.executable, "-c", code], {}, CHANNEL_FD, fds or {}, run_dir, binds)
    return await spawner.spawn_worker("guest", worker)


def nothing_outlives_its_owner(tmp_path: Path, start: str, processes: int) -> bool:
    """Whether all is gone after an owner was killed whose code ``start``, run three times, made so
    many processes, the spawner included."""
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER % start, str(tmp_path / "kdat")],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        while len(everything := psutil.Process(owner.pid).children(recursive=True)) < processes:
            assert owner.poll() is None
    finally:
        owner.kill()
        owner.wait()
        if owner.stdout:
            owner.stdout.close()
    _gone, alive = psutil.wait_procs(everything, timeout=60)
    return not alive
