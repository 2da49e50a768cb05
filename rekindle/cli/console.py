"""What the console script loads first: from here on Ctrl-C ends a command without a traceback.

What comes before, the interpreter's own start, is not ours.
"""

from __future__ import annotations

from rekindle.cli import interrupts


def main() -> None:
    """The console script."""
    interrupts.loading()
    from rekindle.cli import main as command

    command.main()
