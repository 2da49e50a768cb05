"""What an instance leaves whose processes were all killed at once: mounts, sockets, files.

The next command that starts or ends one removes it. Who calls sees to it that nothing runs there.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path

from rekindle import paths
from rekindle.exception import Error
from rekindle.linux import mounts
from rekindle.wire import logs

log = logging.getLogger("rekindle.supervisor")

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


def remove_half_snapshots() -> None:
    """What an agent that was killed left in the store, when no other came that removes it."""
    place = paths.home_place() / "snapshots"
    if not any(place.glob(".*-sn-*")):  # whoever finds none loads nothing for it
        return
    from rekindle.snapshot.store import SnapshotStore

    try:
        SnapshotStore(place).sweep()
    except (Error, OSError) as error:
        log.warning("half snapshots left", extra=logs.kv(reason=error))


def _unmount(directory: Path) -> None:
    """Files that are read before they have arrived are below a mount, which no one serves now."""
    below = [point for point in mounts.points() if point.startswith(f"{directory}/")]
    for point in reversed(below):
        with contextlib.suppress(OSError):  # it went by itself
            mounts.unmount(point)
