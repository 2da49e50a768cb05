"""A process of user code booted in advance: its interpreter runs, and knows of no function yet.

Namespaces, an interpreter and what every program of rekindle imports take most of a small cold
boot, and are the same for all functions with the node's own Python. One is kept ready once a
process was booted for a start. No user code has run in it, so it is nobody's before it is taken.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from rekindle.exception import Error
from rekindle.forkserver.park import CONTROL_FD
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.runners.listener import RunnerListener
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.starts import environment
from rekindle.runtime.agent.starts.activity import StartActivity
from rekindle.runtime.agent.starts.control_pipe import ControlPipe
from rekindle.runtime.agent.starts.first_report import CONNECT_TIMEOUT_S, FIRST_PID, reported
from rekindle.runtime.agent.starts.template import new_id
from rekindle.runtime.isolation.sandbox import JobExit, Sandbox
from rekindle.runtime.isolation.spawner_client import Spawner
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: The next one is booted when nothing was started for so long, or after the second in any case.
_QUIET_S, _LATEST_S = 0.01, 1.0
#: One that boots is waited for until it has taken so many times the longest of the last ones, and
#: never longer than this, which is also what holds before one was measured.
_TIMES_AS_LONG, _LAST_ONES, _MOST_S = 2.0, 8, 5.0


@dataclass
class WaitingBoot:
    """A process that waits to be told what it is."""

    id: str  # of the runner that it will be: it is the host name already
    sandbox: Sandbox
    #: What it prints: it is written to pipes from the start, as Python asks what it writes to once.
    output: Output
    channel: Channel
    job: asyncio.Future[JobExit]

    def discard(self) -> None:
        """End it unused."""
        self.channel.close()
        self.sandbox.kill()
        self.output.close()


class WaitingBoots:
    """The one that is ready, if any is."""

    def __init__(self, spawner: Spawner, listener: RunnerListener, activity: StartActivity) -> None:
        self._spawner = spawner
        self._listener = listener
        self._activity = activity
        self._environment = environment.of_node()
        self._ready: WaitingBoot | None = None
        self._refilling: asyncio.Task[None] | None = None
        #: Of the one that boots just now: set once it is ready, or has failed.
        self._booting: asyncio.Event | None = None
        self._began_at = 0.0  # monotonic seconds; when that one began
        self._took_s: deque[float] = deque(maxlen=_LAST_ONES)
        self._awaited = False
        self._closed = False

    async def take(self, interpreter: str, environ: Mapping[str, str]) -> WaitingBoot | None:
        """The one that is ready, for a process that would be booted with this; None: boot one.

        One that boots just now is waited for, by one start: what that start would boot in its
        place would be ready later, unless that one takes much longer than others did. A variable
        that is read as a process starts must be as in the one that waits.
        """
        if interpreter != sys.executable or environment.read_at_start(
            environ
        ) != environment.read_at_start(self._environment):
            return None
        if self._ready is None and self._booting is not None and not self._awaited:
            self._awaited = True
            try:
                await self._wait_for(self._booting)
            finally:
                self._awaited = False
        ready, self._ready = self._ready, None
        self._refill()
        if ready is not None and ready.job.done():
            ready.discard()
            return None
        return ready

    async def _wait_for(self, booting: asyncio.Event) -> None:
        """Until it is ready, has failed, or takes much longer than others did."""
        longest_s = max(self._took_s, default=_MOST_S)
        until = self._began_at + min(_TIMES_AS_LONG * longest_s, _MOST_S)
        try:
            await asyncio.wait_for(booting.wait(), max(0.0, until - time.monotonic()))
        except TimeoutError:
            took_s = round(time.monotonic() - self._began_at, 3)
            log.warning("process booted in advance not waited for", extra=kv(boots_for_s=took_s))

    def _refill(self) -> None:
        if self._refilling is None and not self._closed:
            self._refilling = asyncio.create_task(self._make_ready())

    async def _make_ready(self) -> None:
        booting = asyncio.Event()
        try:
            await self._activity.pause(_QUIET_S, _LATEST_S)
            self._booting, self._began_at = booting, time.monotonic()
            self._ready = await self._make()
            self._took_s.append(time.monotonic() - self._began_at)
        except (Error, OSError) as error:
            log.warning("no process booted in advance", extra=kv(reason=error))
        finally:
            self._refilling = self._booting = None
            booting.set()

    async def _make(self) -> WaitingBoot:
        runner_id = new_id("ru")
        output = Output(_said)
        try:
            sandbox = await self._spawner.spawn(runner_id)
        except BaseException:
            output.close()
            raise
        try:
            control_pipe = ControlPipe()
            sandbox.gone.add_done_callback(lambda _gone: control_pipe.drop())
            with self._listener.expect() as (token, arrival):
                control_pipe.give_orders(self._listener, token)
                job = sandbox.run(
                    [sys.executable, "-P", "-m", "rekindle.runtime.runner.waiting"],
                    env=self._environment,
                    fds={
                        1: output.write_fds[0],
                        2: output.write_fds[1],
                        CONTROL_FD: control_pipe.read_fd,
                    },
                    pid=FIRST_PID,
                    new_session=True,
                )
                control_pipe.handed_over()
                output.handed_over()
                channel = await reported(arrival, job, CONNECT_TIMEOUT_S, "a process in advance")
        except BaseException:
            sandbox.kill()
            output.close()
            raise
        return WaitingBoot(runner_id, sandbox, output, channel, job)

    async def close(self) -> None:
        """Discard it."""
        self._closed = True
        if self._refilling is not None:
            self._refilling.cancel()
            await asyncio.gather(self._refilling, return_exceptions=True)
        if self._ready is not None:
            self._ready.discard()
            self._ready = None


def _said(line: pb.LogLine) -> None:
    """What is printed before it is anybody's: why it could not boot."""
    log.warning("a process in advance says", extra=kv(line=line.text))
