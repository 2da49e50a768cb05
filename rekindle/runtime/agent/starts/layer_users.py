"""The processes of a node whose root is made of a layer: found by their mounts, and ended.

They are all descendants of the spawner, each in a PID namespace of its own or of others such. Those
that make roots are descendants, too, but live in the machine's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil


def end(spawner_pid: int, layer: str) -> int:
    """End all that runs on a layer, at once; how many processes that were.

    Who waits for a part of it ends as soon as that comes, or does not.
    """
    ended = 0
    with contextlib.suppress(OSError, psutil.Error):
        outside = os.readlink(f"/proc/{spawner_pid}/ns/pid")
        for child in psutil.Process(spawner_pid).children(recursive=True):
            with contextlib.suppress(OSError):
                pidfd = os.pidfd_open(child.pid)
                try:
                    if _is_in(child.pid, layer, outside):
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                        ended += 1
                finally:
                    os.close(pidfd)
    return ended


def _is_in(pid: int, layer: str, outside: str) -> bool:
    if os.readlink(f"/proc/{pid}/ns/pid") == outside:
        return False
    lines = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines()
    return any(" - overlay " in line and layer in line for line in lines)
