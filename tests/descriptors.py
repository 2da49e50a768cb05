"""What this process has open, and whether it has more open than it had."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from contextlib import suppress

#: What is closed in the background has so long.
_PATIENCE_S = 10.0
_LOOK_S = 0.02


def opened() -> dict[int, str]:
    """Descriptors, and what the kernel calls what is behind them."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of this very look
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def since(before: dict[int, str]) -> list[str]:
    """What is open now that was not ``before``."""
    return [what for fd, what in opened().items() if before.get(fd) != what]


def newly_open(before: dict[int, str], patience_s: float = _PATIENCE_S) -> list[str]:
    """What is open that was not ``before``, is no garbage, and stays: other threads of this
    process, those of tests before this one among them, open something for a moment. They close what
    they had, too, so that a number of all that is open says nothing."""
    deadline = time.monotonic() + patience_s
    while (new := since(before)) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(_LOOK_S)
    return new


def left_open(before: dict[int, str], most: int) -> str:
    """What is open in addition to ``before``, where that is more than ``most``; "" where not.

    Where it is, garbage is collected, and what is being closed is waited for.
    """
    deadline = 0.0
    while len(now := opened()) - len(before) > most:
        gc.collect()
        if not deadline:
            deadline = time.monotonic() + _PATIENCE_S
        elif time.monotonic() > deadline:
            new = [what for fd, what in now.items() if before.get(fd) != what]
            kinds = Counter(what.partition(":[")[0] for what in new)
            return ", ".join(f"{count} x {what}" for what, count in kinds.most_common())
        else:
            time.sleep(_LOOK_S)
    return ""
