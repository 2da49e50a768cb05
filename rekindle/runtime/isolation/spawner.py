"""The spawner: a small single-threaded process that makes inits for its agent.

The agent runs threads and an event loop, so it must not fork. It asks this process instead, over
a SOCK_SEQPACKET socket: one JSON request a packet, with the control socket of the init to be.
Each init is PID 1 of new PID, mount, UTS and IPC namespaces: init.py, forked from here, or for a
worker alone a small program (small_init.py). Its mounts may be a root that was made before, by
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
import signal
import socket
import sys
import time
from typing import Any

from rekindle.linux import mounts, namespaces, processes
from rekindle.runtime.isolation import privilege, small_init
from rekindle.runtime.isolation.init import bind, ended_children, run_init, spawn, watch

#: Largest request; a packet socket delivers a request whole or not at all.
MAX_REQUEST_BYTES = 1 << 16
#: Of an init's connection, a root, and what a worker has.
MAX_FDS = 16
_SMALL_INIT = "init"


def main(argv: list[str]) -> int:
    """Serve the agent on descriptor ``argv[1]`` until it closes; ``argv[2]`` is the kdat tmpfs."""
    agent_fd, feature_cache_dir = int(argv[1]), argv[2]
    processes.die_with_parent()
    # Ctrl-C in a terminal reaches the whole foreground group; the agent decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    agent = socket.socket(fileno=agent_fd)
    agent.set_inheritable(False)  # not for what is started from here
    os.makedirs(feature_cache_dir, mode=0o700, exist_ok=True)
    try:
        if (status := privilege.enter()) is not None:
            return status
        # CRIU caches its feature detection (22 ms a restore) only where /run is a tmpfs. This one
        # is seen in the spawner's and its inits' mount namespaces alone, and ends with them.
        mounts.mount(
            "tmpfs", feature_cache_dir, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=700"
        )
        workers = Workers(f"{feature_cache_dir}-init")
    except OSError as error:
        _send(agent, {"event": "refused", "reason": privilege.explain(error)})
        return 1
    own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    poll, wake_read = watch(agent)
    # Each init is a copy of this process: the collector would touch, and so copy, all that is here.
    gc.freeze()
    gc.disable()
    _send(agent, {"event": "ready"})
    while True:
        for fd, _events in poll.poll():
            if fd == wake_read:
                os.read(wake_read, 512)
                _report_gone(agent)
            elif not _serve_one(agent, own_pid_namespace, workers):
                return 0


class Workers:
    """Starts a small init with its worker, in namespaces that this process makes for it.

    It goes there itself, has the program started from there, and comes back: nothing is forked.
    """

    def __init__(self, directory: str) -> None:
        """``directory`` is made for the program of the init. Raises OSError."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        mounts.mount("tmpfs", directory, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=700")
        # By an open directory: the root of an image does not show it.
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._program = os.path.join(directory, _SMALL_INIT)
        self._is_written = False
        self._home = namespaces.Home()

    def close(self) -> None:
        """In a copy of this process: what is open leads to the machine's files."""
        os.close(self._directory)
        self._home.close()

    def start(self, request: dict[str, Any], fds: list[int]) -> int:
        """``fds``: its connection, its root where it is to have one, and the worker's. The process
        id of the init. Raises OSError."""
        control_fd, *rest = fds
        root_fd = rest.pop(0) if request["in_root"] else -1
        run_dir = request["run_dir"]
        if not self._is_written:  # now, as a machine that has no such program can do all else
            small_init.write(self._program)
            # Whoever is root beside it finds it under /proc/1/exe.
            mounts.make_tmpfs_read_only(os.path.dirname(self._program))
            self._is_written = True
        try:
            self._home.leave(request["hostname"], root_fd)
            bind(request["binds"])
            if run_dir:
                mounts.mount(run_dir, "/run", flags=mounts.MS_BIND)
            os.fchdir(self._directory)
            return spawn(
                [f"./{_SMALL_INIT}", "/run" if run_dir else "", *request["worker"]],
                request["env"],
                [small_init.CONTROL_FD, *request["fd_targets"]],
                [control_fd, *rest],
            )
        finally:
            self._come_back()

    def _come_back(self) -> None:
        try:
            self._home.come_back()
        except OSError as error:  # whatever it does next would be done elsewhere
            _say("spawner cannot come back from new namespaces", error)
            os._exit(1)


def _report_gone(agent: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        for pid, status in ended_children():
            _send(agent, {"event": "gone", "pid": pid, "status": status})


def _send(agent: socket.socket, message: dict[str, Any], *fds: int) -> None:
    try:
        socket.send_fds(agent, [json.dumps(message).encode()], fds)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
            raise


def _serve_one(agent: socket.socket, own_pid_namespace: int, workers: Workers) -> bool:
    """One request of the agent; False when the agent is gone."""
    data, fds, _flags, _address = socket.recv_fds(agent, MAX_REQUEST_BYTES, MAX_FDS)
    if not data:
        return False
    request = json.loads(data)
    for fd in fds:
        os.set_inheritable(fd, False)
    try:
        if "roots" in request:
            pid = _fork_root_maker(request["roots"], fds[0], agent, workers)
        elif "worker" in request:
            pid = workers.start(request, fds)
        else:
            pid = _fork_init(request, fds, agent, own_pid_namespace, workers)
        _report_spawned(agent, request["id"], pid)
    except OSError as error:
        _send(agent, {"event": "failed", "id": request["id"], "reason": str(error)})
    finally:
        for fd in fds:
            os.close(fd)
    return True


def _report_spawned(agent: socket.socket, number: int, pid: int) -> None:
    """``pid`` is as it is numbered here; by the descriptor, the agent finds its own number."""
    pidfd = os.pidfd_open(pid)
    try:
        _send(agent, {"event": "spawned", "id": number, "pid": pid}, pidfd)
    finally:
        os.close(pidfd)


def _fork_root_maker(scratch: str, control_fd: int, agent: socket.socket, workers: Workers) -> int:
    """Fork the process that makes roots of images."""
    pid = os.fork()
    if pid != 0:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        processes.die_with_parent()
        agent.close()
        workers.close()
        from rekindle.runtime.images import root_process  # a spawner alone needs none of it

        root_process.serve(socket.socket(fileno=os.dup(control_fd)), scratch)
    except BaseException as error:  # noqa: BLE001 - the last frame of a forked child
        _say("root maker failed", error)
    finally:
        os._exit(1)


def _fork_init(
    request: dict[str, Any],
    fds: list[int],
    agent: socket.socket,
    own_pid_namespace: int,
    workers: Workers,
) -> int:
    namespaces.unshare(namespaces.CLONE_NEWPID)  # for the next child only: we stay where we are
    try:
        pid = os.fork()
        if pid == 0:
            os.close(own_pid_namespace)
            workers.close()
            _become_init(request, fds, agent)
    finally:
        # Without this a second unshare fails: children must come from our own namespace again.
        namespaces.setns(own_pid_namespace, namespaces.CLONE_NEWPID)
    return pid


def _become_init(request: dict[str, Any], fds: list[int], agent: socket.socket) -> None:
    """In the forked child: never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        processes.die_with_parent()
        agent.close()
        # Mounts are private already, as the spawner's are, so nothing propagates.
        control_fd, *root_fd = fds
        if root_fd:
            namespaces.isolate_in_root(root_fd[0], request["hostname"])
            os.close(root_fd[0])
        else:
            namespaces.isolate(request["hostname"])
        status = run_init(socket.socket(fileno=os.dup(control_fd)))
    except BaseException as error:  # noqa: BLE001 - the last frame of a forked child
        _say("init failed", error)
    finally:
        os._exit(status)


def _say(event: str, error: BaseException) -> None:
    """A line of the agent's log."""
    try:
        from rekindle.wire.logs import last_words  # a spawner that works needs no logging
    except ImportError:  # in the root of an image
        os.write(2, f"spawner: {event}: {type(error).__name__}: {error}\n".encode())
    else:
        os.write(2, last_words("spawner", event, error))


if __name__ == "__main__":
    # Bounded: a spawner that raised here would be restarted by its agent at once.
    try:
        sys.exit(main(sys.argv))
    except OSError as problem:
        _say("spawner failed", problem)
        time.sleep(0.05)
        sys.exit(1)
