"""Starts a worker with the small program that is its init (small_init.py), for the spawner.

Where the worker is to see directories at other places, a child of the spawner makes its namespaces
and becomes its init: such a directory may lie on a file system that does not answer, and to look
for it there then takes for ever, of which the spawner, and each other start, must know nothing.

Knows nothing of what a worker is for. Standard library only, as the spawner.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from rekindle.linux import mounts, namespaces, processes
from rekindle.runtime.isolation import small_init
from rekindle.runtime.isolation.init import become, bind, out_of_the_way, spawn
from rekindle.runtime.isolation.last_line import say

_SMALL_INIT = "init"
#: Why an init could not be made; a pipe takes so much at once.
_MAX_REASON_BYTES = 1 << 12


class PendingInit:
    """A child of this process that is about to become an init."""

    def __init__(self, pid: int, said: int) -> None:
        """``said``: a pipe, which ends without a byte when the child has become the init, and
        carries the reason where it cannot."""
        self.pid, self._said = pid, said
        # While its number is its own for sure.
        self.pidfd = os.pidfd_open(pid)

    def fileno(self) -> int:
        """For a poll: ready once the child has become the init or has failed."""
        return self._said

    def why_not(self) -> str:
        """Why the child has not become the init; "" where it has. Blocks until that is known."""
        return os.read(self._said, _MAX_REASON_BYTES).decode(errors="replace")

    def close(self) -> None:
        """Let go of it, here or in a copy of this process."""
        os.close(self._said)
        os.close(self.pidfd)


class Workers:
    """Starts a small init with its worker, in namespaces that this process makes for it.

    It goes there itself, has the program started from there, and comes back: nothing is forked,
    unless there is something to bind.
    """

    def __init__(self, directory: str, home: namespaces.Home) -> None:
        """``directory`` is made for the program of the init. Raises OSError."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        mounts.mount("tmpfs", directory, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=700")
        # By an open directory: the root of an image does not show it.
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._program = os.path.join(directory, _SMALL_INIT)
        self._is_written = False
        self._home = home

    def close(self) -> None:
        """In a copy of this process: what is open leads to the machine's files."""
        os.close(self._directory)

    def start(self, request: dict[str, Any], fds: list[int]) -> int:
        """``fds``: its connection, its root where it is to have one, and the worker's. The process
        id of the init. Raises OSError."""
        self._write()
        root_fd, fds = _root_of(request, fds)
        try:
            self._home.leave(request["hostname"], root_fd)
            return spawn(*self._ready(request, self._directory), fds)
        finally:
            self._come_back()

    def begin(
        self, request: dict[str, Any], fds: list[int], let_go: Callable[[], None]
    ) -> PendingInit:
        """The same in a child, which also binds; it must let go of what is its parent's. Raises
        OSError."""
        self._write()
        said, saying = os.pipe2(os.O_CLOEXEC)
        try:
            pid = self._home.fork_first()
            if pid == 0:
                os.close(said)
                self._become(request, fds, saying, let_go)
            return PendingInit(pid, said)
        except BaseException:
            os.close(said)
            raise
        finally:
            os.close(saying)

    def _write(self) -> None:
        if self._is_written:
            return
        # Now, as a machine that cannot run it can do all else.
        small_init.write(self._program)
        # Whoever is root beside it finds it under /proc/1/exe.
        mounts.make_tmpfs_read_only(os.path.dirname(self._program))
        self._is_written = True

    def _ready(
        self, request: dict[str, Any], directory: int
    ) -> tuple[list[str], dict[str, str], list[int]]:
        """In its namespaces: what is still to be done there, and how the program is called."""
        run_dir = request["run_dir"]
        if run_dir:
            mounts.mount(run_dir, "/run", flags=mounts.MS_BIND)
        os.fchdir(directory)
        argv = [f"./{_SMALL_INIT}", "/run" if run_dir else "", *request["worker"]]
        return argv, request["env"], [small_init.CONTROL_FD, *request["fd_targets"]]

    def _become(
        self, request: dict[str, Any], fds: list[int], saying: int, let_go: Callable[[], None]
    ) -> None:
        """In the forked child: never returns."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # an exec keeps what is ignored
            processes.die_with_parent()
            directory = os.dup(self._directory)
            let_go()
            root_fd, fds = _root_of(request, fds)
            (saying,) = out_of_the_way([saying], [small_init.CONTROL_FD, *request["fd_targets"]])
            namespaces.leave(request["hostname"], root_fd)
            bind(request["binds"])
            become(*self._ready(request, directory), fds)
        except BaseException as error:  # noqa: BLE001 - the last frame of a forked child
            os.write(saying, (str(error) or repr(error)).encode()[:_MAX_REASON_BYTES])
        finally:
            os._exit(127)

    def _come_back(self) -> None:
        try:
            self._home.come_back()
        except OSError as error:  # whatever it does next would be done elsewhere
            say("spawner cannot come back from new namespaces", error)
            os._exit(1)


def _root_of(request: dict[str, Any], fds: list[int]) -> tuple[int, list[int]]:
    """The root, -1 where it has none, and the descriptors that the init gets."""
    control_fd, *rest = fds
    root_fd = rest.pop(0) if request["in_root"] else -1
    return root_fd, [control_fd, *rest]
