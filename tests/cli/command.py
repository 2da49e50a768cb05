"""The command line as a process, against an instance that a test keeps."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

_MAIN = "from rekindle.cli.main import main; main()"
PATIENCE_S = 120.0


def environ(directory: Path, **more: str) -> dict[str, str]:
    """The environment of a command that talks to the instance in ``directory``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("REKINDLE_")}
    return {**kept, "REKINDLE_DIR": str(directory), "NO_COLOR": "1", **more}


def rekindle(
    directory: Path, *argv: str, status: int = 0, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, which must be ``status``."""
    ended = subprocess.run(
        [sys.executable, "-c", _MAIN, *argv],
        env=environ(directory, **more),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == status, f"{argv}: {ended.stdout}\n{ended.stderr}"
    return ended


class Running:
    """A command that runs, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, directory: Path, *argv: str, **more: str) -> Running:
        """Start it."""
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _MAIN, *argv),
                env=environ(directory, **more),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def line(self) -> str:
        """Its next line, without the newline; "" when it has ended."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    async def end(self) -> tuple[int, str]:
        """Wait for its end: status, and what it wrote to standard error."""
        async with asyncio.timeout(PATIENCE_S):
            _, err = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, err.decode()

    def kill(self) -> None:
        """SIGKILL, where it still runs."""
        if self._process.returncode is None:
            self._process.kill()
