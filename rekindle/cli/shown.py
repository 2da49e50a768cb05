"""Whether notes, and what a program waits for, are shown. Loads nothing for it where not."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from rekindle.sdk import notes
from rekindle.sdk.local import announcing


def show_notes(*, quiet: bool) -> None:
    """Show rekindle's own notes from now on; none where ``quiet``."""
    announcing.announce = announcing.say_nothing if quiet else notes.write_note
    notes.shown = not quiet


def waits(*, quiet: bool) -> AbstractContextManager[None]:
    """Show within what this process waits for; nothing off a terminal, or where ``quiet``."""
    if quiet or not notes.is_terminal(sys.stderr):
        return nullcontext()
    from rekindle.cli import waiting

    return waiting.on_terminal()
