"""What runs below a test's process, without what its other tests share."""

from __future__ import annotations

from contextlib import suppress
from multiprocessing import forkserver, resource_tracker

import psutil

#: Supervisors of instances that tests share.
shared_instances: list[psutil.Process] = []


def descendants() -> set[psutil.Process]:
    """All below this process that belong to no shared instance.

    Python's own fork server is not among them, which starts with the first controller that is
    forked and ends with this process; what it forks is.
    """
    own = {
        getattr(forkserver, "_forkserver")._forkserver_pid,  # noqa: B009 - known to no typed name
        getattr(resource_tracker, "_resource_tracker")._pid,  # noqa: B009
    }
    found = {one for one in psutil.Process().children(recursive=True) if one.pid not in own}
    for supervisor in shared_instances:
        found.discard(supervisor)
        with suppress(psutil.NoSuchProcess):
            found -= set(supervisor.children(recursive=True))
    return found
