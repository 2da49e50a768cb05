"""What an instance leaves whose processes were all killed at once: mounts, sockets, files.

The next command that starts or ends one removes it. Who calls sees to it that nothing runs there.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from rekindle.linux import mounts

#: The files of an agent.
AGENTS = "agent-*"


def clear(directory: Path) -> None:
    """Remove what is of use only while the instance runs."""
    _unmount(directory)
    for left in directory.glob("*.sock"):
        left.unlink(missing_ok=True)
    for left in directory.glob(AGENTS):
        shutil.rmtree(left, ignore_errors=True)


def remove(directory: Path) -> None:
    """Remove all of it."""
    _unmount(directory)
    shutil.rmtree(directory, ignore_errors=True)


def _unmount(directory: Path) -> None:
    """Files that are read before they have arrived are below a mount, which no one serves now."""
    below = [point for point in mounts.points() if point.startswith(f"{directory}/")]
    for point in reversed(below):
        with contextlib.suppress(OSError):  # it went by itself
            mounts.unmount(point)
