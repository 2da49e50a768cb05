"""Programs of the control plane as processes, forked by one that has imported them.

To start an interpreter and to import a controller takes most of a second, for each of some hundred
starts. A fork has that behind it; what it runs is the program's own ``main``. How the command line
starts them is for tests/e2e.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

CONTROLLER = "rekindle.controller.__main__"
REDIS = "rekindle.controller.storage.embedded_redis"

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([CONTROLLER, REDIS])


class Program:
    """A program that runs: ``stdout`` is what it prints, ``log`` gets its standard error."""

    def __init__(self, name: str, argv: list[str], environ: Mapping[str, str], log: Path) -> None:
        self.stdout, theirs = _CONTEXT.Pipe(duplex=False)
        self._process: Any = _CONTEXT.Process(
            target=_become, args=(name, argv, dict(environ), theirs, log), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return bool(self._process.is_alive())

    def first_line(self) -> str:
        """What it prints first; empty when it ends before."""
        read = b""
        while not read.endswith(b"\n") and (more := os.read(self.stdout.fileno(), 100)):
            read += more
        return read.decode()

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._process.kill()
        self._process.join()
        self.stdout.close()

    def wait(self) -> int:
        """For its end; the exit status."""
        self._process.join()
        self.stdout.close()
        return int(self._process.exitcode)

    def end(self, timeout_s: float) -> int:
        """SIGTERM; the exit status."""
        self._process.terminate()
        self._process.join(timeout_s)
        status = self._process.exitcode
        assert status is not None, f"it did not end within {timeout_s:g} s"
        self.stdout.close()
        return int(status)


def _become(
    name: str, argv: list[str], environ: dict[str, str], stdout: Connection, log: Path
) -> None:
    """In the forked process: be the program from here on.

    It ends with the process that tests run in: that holds the fork server's life line, whose death
    the program dies of (``die_with_parent``). Each fork gets a copy of the line, to fork more by.
    """
    os.close(getattr(forkserver, "_forkserver")._forkserver_alive_fd)  # noqa: B009 - no typed name
    os.environ.clear()
    os.environ.update(environ)
    os.dup2(stdout.fileno(), 1)
    stdout.close()
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
    sys.exit(importlib.import_module(name).main(argv))


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for an agent's."""
    made = subprocess.Popen(["sleep", "600"])
    try:
        yield made
    finally:
        made.kill()
        made.wait()
