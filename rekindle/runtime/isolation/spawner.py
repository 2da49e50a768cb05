"""The spawner: a small single-threaded process that makes inits for its agent.

The agent runs threads and an event loop, so it must not fork. It asks this process instead, over
a SOCK_SEQPACKET socket: one JSON request a packet, with the control socket of the init to be.
Each init is PID 1 of new PID, mount, UTS and IPC namespaces: init.py, forked from here, or for a
worker alone a small program (workers.py). Its mounts may be a root that was made before, by
another child of this process (images/root_process.py). The spawner dies
with the agent, every init with the spawner, and with an init all that runs in its namespaces.

A user who may not make namespaces makes a user namespace first, one for the spawner and all that it
starts (privilege.py).

Knows nothing of CRIU, of user code or of what an init is for. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rekindle.linux import limits, mounts, namespaces, processes
from rekindle.runtime.isolation import privilege
from rekindle.runtime.isolation.init import ended_children, run_init, watch
from rekindle.runtime.isolation.last_line import say
from rekindle.runtime.isolation.workers import PendingInit, Workers

#: Largest request; a packet socket delivers a request whole or not at all.
MAX_REQUEST_BYTES = 1 << 16
#: Of an init's connection, a root, and what a worker has.
MAX_FDS = 16


def main(argv: list[str]) -> int:
    """Serve the agent on descriptor ``argv[1]`` until it closes; ``argv[2]`` is the kdat tmpfs.

    ``argv[3]``: how many open files it, and all that it starts, may have.
    """
    agent_fd, feature_cache_dir = int(argv[1]), argv[2]
    processes.die_with_parent()
    limits.give_open_files(int(argv[3]))
    # Ctrl-C in a terminal reaches the whole foreground group; the agent decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    agent = socket.socket(fileno=agent_fd)
    agent.set_inheritable(False)  # not for what is started from here
    os.makedirs(feature_cache_dir, mode=0o700, exist_ok=True)
    try:
        # Who only waits keeps no copy of the connection: its end says that the spawner has ended.
        if (status := privilege.enter(agent.close)) is not None:
            return status
        # CRIU caches its feature detection (22 ms a restore) only where /run is a tmpfs. This one
        # is seen in the spawner's and its inits' mount namespaces alone, and ends with them.
        mounts.mount(
            "tmpfs", feature_cache_dir, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=700"
        )
        home = namespaces.Home()
        workers = Workers(f"{feature_cache_dir}-init", home)
    except OSError as error:
        _send(agent, {"event": "refused", "reason": privilege.explain(error)})
        return 1
    poll, wake_read = watch(agent)
    making = Making(agent, poll)
    here = Here(agent, home, workers, making)
    # Each init is a copy of this process: the collector would touch, and so copy, all that is here.
    gc.freeze()
    gc.disable()
    _send(agent, {"event": "ready"})
    while True:
        # A request last: it may open what has the number of something that was closed just now.
        events = dict(poll.poll())
        making.hear(events)
        if wake_read in events:
            os.read(wake_read, 512)
            _report_gone(here)
        if agent.fileno() in events and not _serve_one(here):
            return 0


@dataclass(frozen=True)
class Here:
    """What the spawner has: no copy of it may keep any of that."""

    agent: socket.socket
    home: namespaces.Home
    workers: Workers
    making: Making

    def close(self) -> None:
        """In a copy."""
        self.agent.close()
        self.home.close()
        self.workers.close()
        self.making.close()


class Making:
    """Inits that children of this process are about to be; the agent hears of each once that is
    known."""

    def __init__(self, agent: socket.socket, poll: select.poll) -> None:
        self._agent, self._poll = agent, poll
        self._begun: dict[int, tuple[int, PendingInit]] = {}
        self._failed: set[int] = set()

    def add(self, number: int, begun: PendingInit) -> None:
        """``number`` is that of the request."""
        self._begun[begun.fileno()] = (number, begun)
        self._poll.register(begun, select.POLLIN)

    def hear(self, fds: Iterable[int]) -> None:
        """What a poll says of these."""
        for fd in self._begun.keys() & set(fds):
            number, begun = self._begun.pop(fd)
            self._poll.unregister(fd)
            if why := begun.why_not():
                self._failed.add(begun.pid)
                _send(self._agent, {"event": "failed", "id": number, "reason": why})
            else:
                _report_spawned(self._agent, number, begun.pid, begun.pidfd)
            begun.close()

    def was_init(self, pid: int) -> bool:
        """Whether a process that has ended was one of which the agent has heard by now."""
        self.hear([fd for fd, (_number, begun) in self._begun.items() if begun.pid == pid])
        failed = pid in self._failed
        self._failed.discard(pid)
        return not failed

    def close(self) -> None:
        """In a copy of this process."""
        for _number, begun in self._begun.values():
            begun.close()


def _report_gone(here: Here) -> None:
    with contextlib.suppress(ChildProcessError):
        for pid, status in ended_children():
            if here.making.was_init(pid):
                _send(here.agent, {"event": "gone", "pid": pid, "status": status})


def _send(agent: socket.socket, message: dict[str, Any], *fds: int) -> None:
    try:
        socket.send_fds(agent, [json.dumps(message).encode()], fds)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
            raise


def _serve_one(here: Here) -> bool:
    """One request of the agent; False when the agent is gone."""
    data, fds, _flags, _address = socket.recv_fds(here.agent, MAX_REQUEST_BYTES, MAX_FDS)
    if not data:
        return False
    request = json.loads(data)
    for fd in fds:
        os.set_inheritable(fd, False)
    try:
        _make(request, fds, here)
    except OSError as error:
        _send(here.agent, {"event": "failed", "id": request["id"], "reason": str(error)})
    finally:
        for fd in fds:
            os.close(fd)
    return True


def _make(request: dict[str, Any], fds: list[int], here: Here) -> None:
    """What a request asks for. Raises OSError."""
    number = request["id"]
    if request.get("binds"):
        here.making.add(number, here.workers.begin(request, fds, here.close))
        return
    if "roots" in request:
        pid = _fork_root_maker(request["roots"], fds[0], here)
    elif "worker" in request:
        pid = here.workers.start(request, fds)
    else:
        pid = _fork_init(request, fds, here)
    pidfd = os.pidfd_open(pid)
    try:
        _report_spawned(here.agent, number, pid, pidfd)
    finally:
        os.close(pidfd)


def _report_spawned(agent: socket.socket, number: int, pid: int, pidfd: int) -> None:
    """``pid`` is as it is numbered here; by the descriptor, the agent finds its own number."""
    _send(agent, {"event": "spawned", "id": number, "pid": pid}, pidfd)


def _fork_root_maker(scratch: str, control_fd: int, here: Here) -> int:
    """Fork the process that makes roots of images."""
    pid = os.fork()
    if pid != 0:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        processes.die_with_parent()
        here.close()
        from rekindle.runtime.images import root_process  # a spawner alone needs none of it

        root_process.serve(socket.socket(fileno=os.dup(control_fd)), scratch)
    except BaseException as error:  # noqa: BLE001 - the last frame of a forked child
        say("root maker failed", error)
    finally:
        os._exit(1)


def _fork_init(request: dict[str, Any], fds: list[int], here: Here) -> int:
    pid = here.home.fork_first()
    if pid == 0:
        _become_init(request, fds, here)
    return pid


def _become_init(request: dict[str, Any], fds: list[int], here: Here) -> None:
    """In the forked child: never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        processes.die_with_parent()
        here.close()
        # Mounts are private already, as the spawner's are, so nothing propagates.
        control_fd, *root_fd = fds
        if root_fd:
            namespaces.isolate_in_root(root_fd[0], request["hostname"])
            os.close(root_fd[0])
        else:
            namespaces.isolate(request["hostname"])
        status = run_init(socket.socket(fileno=os.dup(control_fd)))
    except BaseException as error:  # noqa: BLE001 - the last frame of a forked child
        say("init failed", error)
    finally:
        os._exit(status)


if __name__ == "__main__":
    # Bounded: a spawner that raised here would be restarted by its agent at once.
    try:
        sys.exit(main(sys.argv))
    except OSError as problem:
        say("spawner failed", problem)
        time.sleep(0.05)
        sys.exit(1)
