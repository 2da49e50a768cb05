"""What a killed agent left in the store of snapshots, when no other comes that removes it.

For the supervisor and for ``rekindle down``; nothing in a runner imports it.
"""

from __future__ import annotations

import logging

from rekindle import paths
from rekindle.exception import Error
from rekindle.wire import logs

log = logging.getLogger("rekindle.supervisor")


def remove() -> None:
    """Remove it; what is left is logged."""
    place = paths.home_place() / "snapshots"
    if not any(place.glob(".*-sn-*")):  # whoever finds none loads nothing for it
        return
    from rekindle.snapshot.store import SnapshotStore

    try:
        SnapshotStore(place).sweep()
    except (Error, OSError) as error:
        log.warning("half snapshots left", extra=logs.kv(reason=error))
