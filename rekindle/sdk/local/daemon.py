"""The instance that outlives the program that starts it."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from rekindle.sdk.local import directory as instance
from rekindle.sdk.local import session


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
    """End it and wait; False where none is up."""
    pid = instance.supervisor_pid(directory)
    if pid is None:
        return False
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if instance.supervisor_pid(directory) != pid:  # it ended, and the pid may be another's
            return False
        signal.pidfd_send_signal(fd, signal.SIGTERM)
        ended, _, _ = select.select([fd], [], [], session.END_S)
        if not ended:
            signal.pidfd_send_signal(fd, signal.SIGKILL)  # its children get SIGKILL with it
            select.select([fd], [], [], 5.0)
    finally:
        os.close(fd)
    return True
