"""Instances that outlive the program that starts them: ``rekindle up`` and ``rekindle down``."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from rekindle import copied_back, paths
from rekindle.linux import processes
from rekindle.linux.plain_descriptors import readable
from rekindle.sdk.local import directory as instance
from rekindle.sdk.local import lingering, session, surroundings

#: What was killed, or only has to remove files, ends within this time.
_KILLED_S = 5.0


@paths.at_home()
def check(directory: Path) -> None:
    """See that an instance can come up there, before one is started.

    Raises SetupError for a directory whose path is too long, and where a backup has not arrived
    whole, or something is missing that no instance can do without.
    """
    surroundings.check()
    surroundings.check_file_size()
    paths.fitting_socket(paths.controller_socket(directory))
    copied_back.accept(directory, own_queue=not os.environ.get("REKINDLE_REDIS_URL"))


@paths.at_home()
def start(directory: Path, timeout_s: float) -> int:
    """Start it and wait until it serves; the supervisor's pid. Raises ConnectionError."""
    process = session.start_supervisor(directory, parent_pid=None)
    assert process.stdout is not None
    try:
        session.wait_ready(process, directory, timeout_s)
    except BaseException:
        session.end_process(process, session.END_S)
        raise
    finally:
        process.stdout.close()
    process.returncode = 0  # it is meant to outlive us: no warning about a child left behind
    return process.pid


def stop(directory: Path) -> bool:
    """End what serves a directory and wait until nothing is left; False where nothing does."""
    pid = instance.supervisor_pid(directory)
    if pid is None:
        return False
    with contextlib.ExitStack() as opened:
        try:
            fd = _watch(pid, opened)
            above = _watch(processes.parent_of(pid), opened) if lingering.is_one(directory) else -1
        except OSError:  # it has just ended
            return False
        if instance.supervisor_pid(directory) != pid:  # it ended, and the pid may be another's
            return False
        instance.note_taken_down(directory)
        signal.pidfd_send_signal(fd, signal.SIGTERM)
        if not _ends(fd, session.END_S):
            signal.pidfd_send_signal(fd, signal.SIGKILL)  # its children get SIGKILL with it
            _ends(fd, _KILLED_S)
        if above >= 0:
            _ends(above, _KILLED_S)  # it removes what was left
    return True


@paths.at_home()
def stop_all() -> bool:
    """End what ``rekindle up`` keeps, and all that linger here; False where there was none."""
    if not paths.home_place().is_dir():
        return False
    ended = [stop(directory) for directory in (paths.daemon_dir(), *lingering.all_here())]
    with lingering.turn():
        lingering.sweep()
    instance.clear_kept()
    instance.sweep()
    return any(ended)


def _watch(pid: int, opened: contextlib.ExitStack) -> int:
    fd = os.pidfd_open(pid)
    opened.callback(os.close, fd)
    return fd


def _ends(pidfd: int, timeout_s: float) -> bool:
    return bool(readable([pidfd], timeout_s))
