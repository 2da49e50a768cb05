"""What runs below a test's process, without the instances that its other tests share."""

from __future__ import annotations

from contextlib import suppress

import psutil

#: Supervisors of instances that tests share.
shared_instances: list[psutil.Process] = []


def descendants() -> set[psutil.Process]:
    """All below this process that belong to no shared instance."""
    found = set(psutil.Process().children(recursive=True))
    for supervisor in shared_instances:
        found.discard(supervisor)
        with suppress(psutil.NoSuchProcess):
            found -= set(supervisor.children(recursive=True))
    return found
