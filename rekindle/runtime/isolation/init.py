"""PID 1 of a template's or a runner's namespaces.

It execs what its agent names (the boot of a template, ``criu dump``), reaps,
reports how each job and each adopted process ended, and goes when nothing is left to hold or when
the agent closes the control socket; the kernel then kills all that is left in the namespaces.

Knows nothing of CRIU's arguments or of user code. Standard library only: it is forked from the
spawner and shares its memory.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rekindle.linux import mount_points, mounts

#: Largest request: an argument list and an environment.
MAX_REQUEST_BYTES = 1 << 18
MAX_FDS = 8


def watch(control: socket.socket) -> tuple[select.poll, int]:
    """A poll of ``control``, and of the descriptor that can be read once a child has ended."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    return poll, wake_read


def run_init(control: socket.socket) -> int:
    """Serve the agent until it closes ``control`` or nothing is left; returns the exit status."""
    poll, wake_read = watch(control)
    jobs: dict[int, dict[str, Any]] = {}
    while True:
        for fd, _events in poll.poll():
            if fd == wake_read:
                os.read(wake_read, 512)
                if not _reap(control, jobs):
                    return 0
            else:
                data, fds, _flags, _address = socket.recv_fds(control, MAX_REQUEST_BYTES, MAX_FDS)
                if not data:
                    return 0
                request = json.loads(data)
                if "end" in request:
                    _end(request["end"], jobs)
                    continue
                for passed in fds:
                    os.set_inheritable(passed, False)
                try:
                    jobs[_start(request, fds)] = request
                except OSError as error:
                    failed = {"status": 127, "reason": str(error)}
                    _report(control, {"job": request["job"], **failed})
                finally:
                    for passed in fds:
                        os.close(passed)


def _end(job: str, jobs: Mapping[int, Mapping[str, Any]]) -> None:
    """Kill a job, unless it has ended; it is reported as any other."""
    for pid, request in jobs.items():  # none of them is reaped yet: the numbers are theirs
        if request["job"] == job:
            os.kill(pid, signal.SIGKILL)


def _report(control: socket.socket, message: dict[str, Any]) -> None:
    try:
        control.send(json.dumps(message).encode())
    except (BrokenPipeError, ConnectionResetError):
        pass  # the agent is gone; the poll loop sees the end of the socket next


def ended_children() -> Iterator[tuple[int, int]]:
    """Those that have ended: process id and exit status. Raises ChildProcessError: none is left."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def bind(binds: Sequence[Mapping[str, Any]]) -> None:
    """Show directories at other places: ``below`` of ``root`` at ``target``. Raises OSError."""
    if binds:
        mount_points.provide([one["target"] for one in binds])
    for one in binds:
        mounts.bind_beneath(one["root"], one["below"], one["target"], read_only=one["read_only"])


def _reap(control: socket.socket, jobs: dict[int, dict[str, Any]]) -> bool:
    """Collect what ended and report it; whether a child is left."""
    try:
        for pid, code in ended_children():
            job = jobs.pop(pid, {})
            if job.get("run_dir"):
                mounts.unmount("/run")
            _report(control, {"job": job.get("job", ""), "pid": pid, "status": code})
    except ChildProcessError:
        return False
    return True


def _start(request: dict[str, Any], fds: list[int]) -> int:
    """Fork and exec ``argv``; ``fd_targets`` are the numbers that the passed fds get there.

    ``pid``: the process id that it should get, as far as it is free (a restored process needs the
    ids that it had, so templates keep clear of the small ones that CRIU itself uses).
    ``new_session``: it leads one. ``nice``: added to its niceness, for work that may wait.
    ``run_dir``: bound over /run while the job runs (CRIU's feature cache).
    ``binds``: directories that are seen at other places from now on, see ``bind``.
    """
    bind(request.get("binds", ()))
    if not request.get("run_dir"):
        return _launch(request, fds)
    mounts.mount(request["run_dir"], "/run", flags=mounts.MS_BIND)
    try:
        return _launch(request, fds)
    except BaseException:
        mounts.unmount("/run")  # nothing of it ends that would take it away
        raise


def _launch(request: dict[str, Any], fds: list[int]) -> int:
    if request.get("pid"):
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(int(request["pid"]) - 1))
    if not (request.get("nice") or request.get("new_session") or request.get("cwd", "/") != "/"):
        return spawn(request["argv"], request["env"], request["fd_targets"], fds)
    pid = os.fork()
    if pid == 0:
        _exec(request, fds)
    return pid


def spawn(argv: list[str], env: Mapping[str, str], targets: list[int], fds: list[int]) -> int:
    """Start a program; ``targets`` are the numbers that ``fds`` get there. Raises OSError.

    Without a fork of this process, whose page tables and pages that would copy.
    """
    moved = out_of_the_way(fds, targets)
    try:
        files: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_OPEN, standard, "/dev/null", os.O_RDWR, 0)
            for standard in range(3)
            if standard not in targets
        ]
        files += [
            (os.POSIX_SPAWN_DUP2, copy, target) for copy, target in zip(moved, targets, strict=True)
        ]
        return os.posix_spawn(argv[0], argv, env, file_actions=files, setsigdef=[signal.SIGINT])
    finally:
        for copy in moved:
            os.close(copy)


def become(argv: list[str], env: Mapping[str, str], targets: list[int], fds: list[int]) -> None:
    """The same in place of this program. All else that it has open is to be closed by that: nothing
    may be inheritable. Never returns; raises OSError."""
    _put(fds, targets)
    os.execve(argv[0], argv, env)


def out_of_the_way(fds: list[int], targets: list[int]) -> list[int]:
    """Copies of ``fds`` above all ``targets``, so that to place one overwrites none of them."""
    floor = max([*targets, 2]) + 1
    return [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor) for fd in fds]


def _exec(request: dict[str, Any], fds: list[int]) -> None:
    """In the forked child: never returns."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if request.get("new_session"):
            os.setsid()
        if request.get("nice"):
            os.nice(request["nice"])
        _place_fds(fds, request["fd_targets"])
        os.chdir(request.get("cwd") or "/")
        os.execve(request["argv"][0], request["argv"], request["env"])
    except OSError as error:
        os.write(2, f"cannot start {request['argv'][0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _put(fds: list[int], targets: list[int]) -> None:
    """Give ``fds`` the numbers ``targets``, the null device to 0..2 that are not among them."""
    moved = out_of_the_way(fds, targets)
    null = os.open("/dev/null", os.O_RDWR)
    for standard in range(3):
        if standard not in targets:
            os.dup2(null, standard)
    for copy, target in zip(moved, targets, strict=True):
        os.dup2(copy, target)


def _place_fds(fds: list[int], targets: list[int]) -> None:
    """The same, and the rest is closed."""
    _put(fds, targets)
    keep = sorted({0, 1, 2, *targets})
    for low_end, high_end in zip(keep, [*keep[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(low_end + 1, min(high_end, 65536))
