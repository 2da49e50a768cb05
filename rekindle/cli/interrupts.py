"""Ctrl-C before a command begins, and from then on.

While a command is being loaded there is nothing to take down, and a KeyboardInterrupt would be
raised in the middle of an import: the process ends at once. From ``begun()`` on it is one again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from rekindle.cli.exit_status import INTERRUPTED


def loading() -> None:
    """A command is being loaded. One that Ctrl-C is not to reach (``nohup``) stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def begun() -> None:
    """It is loaded, and begins."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def tell(interrupt: BaseException | None) -> None:
    """What came of what was interrupted, on standard error, where that was noted."""
    with contextlib.suppress(OSError):  # nobody reads it
        for note in getattr(interrupt, "__notes__", ()):
            sys.stderr.write(f"{note}\n")


def _end(_number: int, _frame: object) -> None:
    os._exit(INTERRUPTED)
