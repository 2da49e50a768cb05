"""The processes of an instance: how each is started, and how it is ended.

When that is done is the supervisor's to say.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.wire.ending import AGENT_END_S
from rekindle.wire.logs import kv

log = logging.getLogger("rekindle.supervisor")


@dataclass(frozen=True)
class Service:
    """One process of an instance; ``grace_s``: from SIGTERM to SIGKILL."""

    name: str
    argv: tuple[str, ...]
    grace_s: float
    says_ready: bool = True


def services(directory: Path) -> list[Service]:
    """The processes of an instance, in the order in which they are started."""

    def python(
        name: str, module: str, grace_s: float, *more: str, says_ready: bool = True
    ) -> Service:
        # -P: what lies in the working directory must not shadow what we import.
        argv = (sys.executable, "-P", "-m", module, "--dir", str(directory), *more)
        return Service(name, argv, grace_s, says_ready)

    found = [
        python("controller", "rekindle.controller", 10.0, "--own-agent"),
        python("agent", "rekindle.runtime.agent", AGENT_END_S),
    ]
    if not os.environ.get("REKINDLE_REDIS_URL"):
        redis = "rekindle.controller.storage.embedded_redis"
        found.insert(0, python("redis", redis, 10.0, says_ready=False))
    return found


@dataclass
class Child:
    """A service and the process that it has now."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1
    started_at: float = 0.0
    ready: bool = False
    quick_deaths: int = 0
    restart_at: float | None = None
    was_killed: bool = False
    output: bytes = field(default=b"", repr=False)

    def start(self, log_file: Path) -> subprocess.Popen[bytes]:
        """Start a process; what it says goes to the log, but for "ready"."""
        self.restart_at = None
        self.started_at = time.monotonic()
        self.output = b""
        with open(log_file, "ab") as file:
            self.process = subprocess.Popen(
                self.service.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.service.says_ready else file,
                stderr=file,
            )
        self.pidfd = os.pidfd_open(self.process.pid)
        log.info("started", extra=kv(process=self.service.name, pid=self.process.pid))
        return self.process

    def end(self) -> None:
        """End its process in good order: SIGTERM, its grace, SIGKILL."""
        assert self.process is not None
        self.process.terminate()
        try:
            # Below 0 also where it was killed just before, and its end not yet handled.
            self.was_killed |= self.process.wait(self.service.grace_s) < 0
        except subprocess.TimeoutExpired:
            log.error("killed", extra=kv(process=self.service.name, pid=self.process.pid))
            self.process.kill()
            self.was_killed = True

    def reap(self) -> int:
        """Have no process any more; the exit status of the one that has ended."""
        process, self.process = self.process, None
        assert process is not None
        if process.stdout is not None:
            process.stdout.close()
        os.close(self.pidfd)
        self.pidfd = -1
        return process.wait()
