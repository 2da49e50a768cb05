"""User code whose copies hang as they are made, for as long as a file is there."""

from __future__ import annotations

import os
import signal
import threading


class HangsWhileMarked:
    """Has a thread that is known to do no harm, so its copies are made as Python makes them: what
    user code gave to that hangs in each one while a file is there. For one that is to be frozen its
    template waits a second."""

    def load(self) -> None:
        from rekindle.forkserver import template

        template._COPY_TIMEOUT_S = 1.0
        ends = threading.Event()
        threading.Thread(target=ends.wait, name="tqdm_monitor", daemon=True).start()
        os.register_at_fork(after_in_child=self.child)

    def child(self) -> None:
        if os.path.exists(os.environ["MARK"]):
            signal.pause()

    def total(self) -> int:
        return 1
