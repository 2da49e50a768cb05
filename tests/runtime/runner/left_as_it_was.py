"""What a template may not change of itself, for the programs that tests run as one."""

from __future__ import annotations

import os
import signal
from typing import Any


def state(number: int) -> tuple[dict[str, str], Any, dict[str, str], list[str]]:
    """What this process has open, its handler of a signal, its environment and its threads."""
    fds = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            pass  # it was that of the listing
    return fds, signal.getsignal(number), dict(os.environ), os.listdir("/proc/self/task")
