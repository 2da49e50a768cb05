"""Removes snapshots that a killed agent had begun to write.

The next agent does that, too: this is for the supervisor and for ``rekindle down``, after which
none may come. Runners never import it.
"""

from __future__ import annotations

import logging

from rekindle import paths
from rekindle.exception import Error
from rekindle.wire import logs

log = logging.getLogger("rekindle.supervisor")


def remove() -> None:
    """Remove them; what cannot be removed is logged."""
    place = paths.home_place() / "snapshots"
    if not any(place.glob(".*-sn-*")):  # where there are none, nothing is loaded
        return
    from rekindle.snapshot.store import SnapshotStore

    try:
        SnapshotStore(place).sweep()
    except (Error, OSError) as error:
        log.warning("unfinished snapshots left", extra=logs.kv(reason=error))
