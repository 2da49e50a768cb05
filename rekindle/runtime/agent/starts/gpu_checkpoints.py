"""The process that suspends and resumes CUDA in others, as its agent sees it.

Started when the first function with GPU snapshots needs it, and again after it has died: what was
asked of it then has failed, with the reason, and nothing else is harmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from rekindle.exception import GpuError
from rekindle.runtime.isolation.sandbox import describe_exit
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: To load and start the driver: a second and more where nothing keeps it up.
START_TIMEOUT_S = 60.0
#: To move all of a large GPU's memory, over a slow link.
ORDER_TIMEOUT_S = 180.0


def helper_argv() -> list[str]:
    """Its command line."""
    return [sys.executable, "-P", "-m", "rekindle.gpu_restore.checkpointing"]


@dataclass(eq=False)
class GpuCheckpoints:
    """See the module. Everything raises GpuError."""

    _process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None
    _answers: dict[int, asyncio.Future[str]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Why this machine takes no GPU snapshots; None: not asked yet.
    _why_not: str | None = None
    #: Why it can bring them back on the same GPUs alone; "" until it was asked, too.
    _why_not_moved: str = ""

    async def why_not(self) -> str:
        """Why this machine takes no GPU snapshots; "" where it does.

        Raises GpuError where that could not be found out just now.
        """
        if self._why_not is None:
            try:
                await self._start()
            except GpuError:
                if self._why_not is None:
                    raise
        return self._why_not or ""

    async def why_not_moved(self) -> str:
        """Why a process can be resumed on the GPUs alone that it had; "" where on others, too."""
        await self._start()
        return self._why_not_moved

    async def suspend(self, pid: int) -> None:
        """Have a process's device memory in its host memory, and its devices closed."""
        await self._ask({"op": "suspend", "pid": pid})

    async def resume(self, pid: int, moved: Mapping[str, str] | None = None) -> None:
        """Undo it, in the process or a restored copy; ``moved`` as checkpoint.resume has it."""
        await self._ask({"op": "resume", "pid": pid, "moved": dict(moved) if moved else None})

    async def close(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _ask(self, order: dict[str, object]) -> None:
        process = await self._start()
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert process.stdin is not None
        try:
            process.stdin.write((json.dumps({**order, "id": number}) + "\n").encode())
            async with asyncio.timeout(ORDER_TIMEOUT_S):
                reason = await answer
        except TimeoutError:
            process.kill()  # it may hang in the driver for ever
            reason = f"the driver took longer than {ORDER_TIMEOUT_S:g} s to {order['op']} it"
        finally:
            self._answers.pop(number, None)
        if reason:
            raise GpuError(reason)

    async def _start(self) -> asyncio.subprocess.Process:
        async with self._starting:
            reading = self._reading is not None and not self._reading.done()
            if self._process is not None and reading:
                return self._process
            if self._why_not:
                raise GpuError(self._why_not)
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *helper_argv(),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    # All GPUs are its affair, whatever may be handed out.
                    env={k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"},
                )
            except OSError as error:
                raise GpuError(f"the GPU checkpoint process cannot be started: {error}") from error
            assert self._process.stdout is not None
            line = b""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_TIMEOUT_S):
                    line = await self._process.stdout.readline()
            if not line:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                how = describe_exit(await self._process.wait())
                raise GpuError(f"the GPU checkpoint process did not start: {how}")
            said = json.loads(line)
            if why_not := str(said["why_not"]):
                if not said["passes"]:
                    self._why_not = why_not
                await self._process.wait()
                raise GpuError(why_not)
            self._why_not = ""
            self._why_not_moved = str(said["why_not_moved"])
            self._reading = asyncio.create_task(self._read(self._process))
            return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            said = json.loads(line)
            answer = self._answers.get(said["id"])
            if answer is not None and not answer.done():
                answer.set_result(said["reason"])
        how = describe_exit(await process.wait())
        log.info("GPU checkpoint process ended", extra=kv(how=how, asked=len(self._answers)))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(f"the process that makes the driver's checkpoint calls {how}")
