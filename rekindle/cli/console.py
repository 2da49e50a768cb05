"""What the console script loads first: from here on Ctrl-C ends a command without a traceback.

What comes before, the interpreter's own start, is not ours.
"""

from __future__ import annotations

from rekindle.cli import interrupts
from rekindle.linux import given_signals


def main() -> None:
    """The console script."""
    interrupts.loading()
    given_signals.hear_of_children()
    from rekindle.cli import main as command

    command.main()
