"""A forked child of a template, from the order on: its connection, its process, its end.

The connection is there before the process: what is written to it is what the child finds.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from dataclasses import dataclass

from rekindle.exception import StartError
from rekindle.linux.processes import pid_of
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.starts.outfit import Outfit
from rekindle.wire.frames import Header


@dataclass(eq=False)
class ForkedChild:
    """See the module. Its name is that of the runner that it will be."""

    name: str
    channel: Channel
    #: The child's end of the connection, until it is handed over.
    their_fd: int
    #: Done when its process is there; StartError where it could not be forked.
    forked: asyncio.Future[None]
    #: How it ended: exit status, or minus a signal number.
    exit_status: asyncio.Future[int]
    #: Of a spare: the name under which it holds a GPU, or is to hold one.
    gpu_owner: str = ""
    #: Done with what it answers to the order at hand.
    answer: asyncio.Future[Header] | None = None
    #: What it will get with its start, where that is made already.
    outfit: Outfit | None = None
    _pidfd: int = -1
    _doomed: bool = False

    @classmethod
    def make(cls, name: str) -> ForkedChild:
        """Raises StartError where no more descriptors are to be had."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise StartError(f"no connection for a new process: {error}") from error
        loop = asyncio.get_running_loop()
        return cls(
            name, Channel(ours, 0), theirs.detach(), loop.create_future(), loop.create_future()
        )

    def handed_over(self) -> None:
        """Close our copy of its end of the connection: its template has it."""
        if self.their_fd >= 0:
            os.close(self.their_fd)
            self.their_fd = -1

    def is_there(self, pidfd: int) -> None:
        """Note its process; takes over ``pidfd``. One that cannot be told from others is ended."""
        self._pidfd = pidfd
        try:
            self.channel.pid = pid_of(pidfd)
        except OSError as error:  # there is no descriptor left, say
            self.kill()
            self.failed(StartError(f"a new process has no number: {error}"))
            return
        if not self.forked.done():
            self.forked.set_result(None)
        if self._doomed:
            self.kill()

    def failed(self, error: StartError) -> None:
        """Note that it could not be forked: who waits for it gets ``error``."""
        self.handed_over()
        if not self.forked.done():
            self.forked.set_exception(error)
            self.forked.exception()  # one that no one waits for any more is no error of the loop
        if not self.exit_status.done():
            self.exit_status.set_result(-signal.SIGKILL)
        self.channel.close()

    def ended(self, status: int) -> None:
        """Note how its process has ended."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if not self.exit_status.done():
            self.exit_status.set_result(status)

    def answered(self, message: Header) -> None:
        """Take what it says while it waits for its start."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(message)

    def take_outfit(self) -> Outfit:
        """What it gets with its start; the caller closes it. Raises StartError."""
        outfit, self.outfit = self.outfit, None
        return outfit or Outfit.make()

    def let_go(self) -> None:
        """End it, as no start takes it. One that is not forked yet finds its connection closed, and
        ends."""
        self.kill()
        self.channel.close()
        if self.outfit is not None:
            self.outfit.close()
            self.outfit = None

    def kill(self) -> None:
        """End it now, with all that it started: it is PID 1 of its namespace."""
        self._doomed = True
        if self._pidfd >= 0:
            end_process(self._pidfd)

    @staticmethod
    def kill_unknown(pidfd: int) -> None:
        """End a process that no one waits for; takes ``pidfd``, -1 where none came: then it ends
        by itself, as its connection is closed."""
        if pidfd >= 0:
            end_process(pidfd)
            os.close(pidfd)


def end_process(pidfd: int) -> None:
    """Kill a process, unless it has ended."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return
