"""A runner as its agent sees it: a state machine around a process that runs inputs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from rekindle.exception import InternalFailure, RunnerLostError, StartupTimeoutError
from rekindle.runtime.agent.channel import Channel
from rekindle.runtime.agent.output import Output
from rekindle.runtime.isolation.sandbox import describe_exit
from rekindle.wire.frames import FrameError, Header
from rekindle.wire.logs import kv
from rekindle.wire.page import RunnerPage
from rekindle.wire.phases import Mark, Strategy, now_ns

log = logging.getLogger(__name__)

#: How long to wait for the exit status of a process whose channel just closed.
_STATUS_WAIT_S = 1.0


class RunnerState(Enum):
    """Where a runner is in its life."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    #: It serves one client's direct calls; its pool gives it nothing.
    LENT = "lent"
    STOPPING = "stopping"
    GONE = "gone"


_MOVES = {
    RunnerState.STARTING: {RunnerState.IDLE, RunnerState.GONE},
    RunnerState.IDLE: {
        RunnerState.BUSY,
        RunnerState.LENT,
        RunnerState.STOPPING,
        RunnerState.GONE,
    },
    RunnerState.BUSY: {RunnerState.IDLE, RunnerState.GONE},
    RunnerState.LENT: {RunnerState.IDLE, RunnerState.GONE},
    RunnerState.STOPPING: {RunnerState.GONE},
    RunnerState.GONE: set(),
}


class UserCodeFailed(Exception):  # an outcome, not an error of ours
    """The import or a hook of the user raised; carries what the caller is to get."""

    def __init__(self, stage: str, header: Header, data: bytes) -> None:
        super().__init__(f"{header['error_type']}: {header['message']}")
        self.stage = stage
        self.header = header
        self.data = data


@dataclass
class Reply:
    """What a runner answered to an input."""

    header: Header
    data: bytes


@dataclass
class Runner:
    """One runner. Only ``_move`` changes its state."""

    id: str
    strategy: Strategy
    channel: Channel
    output: Output
    page: RunnerPage
    #: How its process ended: exit status, or minus a signal number.
    exit_status: asyncio.Future[int]
    #: Ends the process and all that it started, at once.
    end_process: Callable[[], None]
    began_ns: int
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    state: RunnerState = RunnerState.STARTING
    ready_ns: int = 0
    #: Started for one input alone; no other is given to it.
    private: bool = False
    inputs_done: int = 0
    idle_since: float = 0.0
    #: The call whose input it has, for its log lines.
    call_id: str = ""
    kill_reason: str = ""

    def _move(self, to: RunnerState) -> None:
        if to not in _MOVES[self.state]:
            raise InternalFailure(f"runner {self.id} cannot go from {self.state} to {to}")
        self.state = to
        if to is RunnerState.IDLE:
            self.idle_since = time.monotonic()

    def current_call(self) -> str:
        """The call of what it runs, for its log lines."""
        return self.call_id or self.page.call_id

    async def become_ready(self, timeout_s: float) -> None:
        """Wait until the hooks have run.

        Raises UserCodeFailed, StartupTimeoutError or RunnerLostError; the runner is gone then.
        """
        try:
            async with asyncio.timeout(timeout_s):
                header, data = await self.channel.receive()
        except TimeoutError as error:
            raise StartupTimeoutError(
                f"the runner was not ready within startup_timeout={timeout_s:g} s"
            ) from error
        except FrameError as error:
            raise RunnerLostError(f"the runner died while it started: {await self._fate()}") from (
                error
            )
        if header["op"] == "start_failed":
            self.marks.extend((name, at) for name, at in header["marks"])
            self.kill("start failed")
            raise UserCodeFailed(header["stage"], header, data)
        self.marks.extend((name, at) for name, at in header["marks"])
        self.ready_ns = now_ns()
        self._move(RunnerState.IDLE)

    async def run(self, header: Header, payload: bytes, call_id: str, timeout_s: float) -> Reply:
        """Run one input. Raises TimeoutError (killed) or RunnerLostError."""
        self.call_id = call_id
        try:
            self.channel.send(header, payload)
            async with asyncio.timeout(timeout_s):
                answer, data = await self.channel.receive()
        except TimeoutError:
            self.kill(f"the input ran longer than timeout={timeout_s:g} s")
            raise
        except FrameError as error:
            raise RunnerLostError(await self._fate()) from error
        finally:
            self.output.drain()
            self.call_id = ""
        self.inputs_done += 1
        if self.state is RunnerState.BUSY:
            self._move(RunnerState.IDLE)
        return Reply(answer, data)

    def take(self) -> None:
        """Reserve it for an input."""
        self._move(RunnerState.BUSY)

    def lend(self) -> None:
        """Give it to a client for direct calls."""
        self._move(RunnerState.LENT)

    def take_back(self) -> None:
        """Its client has let go of it."""
        self._move(RunnerState.IDLE)

    async def stop(self, grace_s: float) -> None:
        """Let the exit hooks run, then end it."""
        if self.state is RunnerState.IDLE:
            self._move(RunnerState.STOPPING)
            with contextlib.suppress(FrameError, TimeoutError):
                self.channel.send({"op": "stop"})
                async with asyncio.timeout(grace_s):
                    await self.channel.receive()
        self.kill("stopped")

    def kill(self, reason: str) -> None:
        """End it now, whatever it does."""
        if self.state is RunnerState.GONE:
            return
        self.kill_reason = reason
        self.end_process()
        self.channel.close()
        self.output.close()
        self.page.close()
        self._move(RunnerState.GONE)

    def lost(self) -> None:
        """Its process ended by itself."""
        self.kill("its process ended")

    async def _fate(self) -> str:
        """How the process ended, in words; it is gone afterwards."""
        words = "it closed its connection"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STATUS_WAIT_S):
                words = describe_exit(await asyncio.shield(self.exit_status))
        if self.kill_reason:
            words = self.kill_reason
        self.lost()
        return f"runner {self.id}: {words}"

    def pss_bytes(self) -> int:
        """Proportional set size: its share of memory, pages that it shares counted in parts."""
        try:
            with open(f"/proc/{self.channel.pid}/smaps_rollup") as rollup:
                for line in rollup:
                    if line.startswith("Pss:"):
                        return int(line.split()[1]) * 1024
        except (OSError, ProcessLookupError):
            log.debug("no PSS", extra=kv(runner=self.id))
        return 0


def kill_process(pid: int) -> Callable[[], None]:
    """Ends one process (PID 1 of its namespace, so with it all that it started)."""

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    return end
