"""Says what a program waits for where the directory of volumes does not answer.

A mount whose server is gone lets nobody go who looks below it, and the kernel sets no limit: it is
to be seen what is waited for. Knows nothing of what is done there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rekindle.execution.context import is_local
from rekindle.sdk import notes
from rekindle.volumes import registry

#: A disk that is busy takes less.
_AFTER_S = 4.0


@contextmanager
def told() -> Iterator[None]:
    """Within, a wait for that directory that lasts is told, once, on standard error.

    Not in a runner, whose function's own threads are to be the only ones.
    """
    if not is_local():
        yield
        return
    timer = threading.Timer(_AFTER_S, _tell)
    timer.daemon = True
    try:
        timer.start()
        yield
    finally:
        timer.cancel()


def _tell() -> None:
    if notes.shown:
        place = registry.place()
        notes.write_note(
            f"waiting for the directory of volumes, {place}. Where it does not answer, as its "
            f"server is gone, `umount -f` of what is mounted there ends the wait; "
            f"{registry.VARIABLE} names another directory"
        )
