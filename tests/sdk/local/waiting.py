"""What tests of instances wait for, and what must not be left."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what gives no event."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def left_over(home: Path) -> list[str]:
    """Private directories, and processes that belong to this home."""
    found = [str(path) for path in (home / "run").glob("*")]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if str(home).encode() in command:
            found.append(command.replace(b"\0", b" ").decode())
    return found
