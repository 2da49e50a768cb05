"""What the console script loads first: from here on Ctrl-C ends a command without a traceback.

While a command is being loaded there is nothing to take down; from ``begun()`` on there may be, so
Ctrl-C is a KeyboardInterrupt again. What comes before, the interpreter's own start, is not ours.
"""

from __future__ import annotations

import os
import signal

from rekindle.cli.exit_status import INTERRUPTED


def main() -> None:
    """The console script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    from rekindle.cli import main as command

    command.main()


def begun() -> None:
    """The command is loaded, and begins."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: object) -> None:
    os._exit(INTERRUPTED)
