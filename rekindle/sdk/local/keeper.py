"""The process above the supervisor of a lingering instance: it removes what that one leaves.

No program is there to clean up after a supervisor that was killed, so a small process waits for
it. Each ends with the other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from rekindle.linux import processes


def stand_above(inherited_fd: int, clean_up: Callable[[], None]) -> int:
    """Go to the background as two processes; the caller goes on as the lower one.

    Returns the pid of the upper one, which adopts and reaps all that is orphaned below it, calls
    ``clean_up`` when nothing is left there, and ends. ``inherited_fd`` is closed there. The
    process that called ends at once: whoever started it has no child that stays.
    """
    if os.fork():
        os._exit(0)
    above = os.getpid()
    processes.adopt_orphans()
    if os.fork() == 0:
        return above
    os.close(inherited_fd)
    status = 0
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    try:
        clean_up()
    except Exception as error:  # noqa: BLE001 - the last that can be done is to say it
        sys.stderr.write(f"not all was removed: {error}\n")
        sys.stderr.flush()
        status = 1
    os._exit(status)
