"""Whether what a program waits for is shown. Loads nothing for it where it is not."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from rekindle.sdk import notes


def waits(*, quiet: bool) -> AbstractContextManager[None]:
    """Show within what this process waits for; nothing off a terminal, or where ``quiet``."""
    if quiet or not notes.is_terminal(sys.stderr):
        return nullcontext()
    from rekindle.cli import waiting

    return waiting.on_terminal()
