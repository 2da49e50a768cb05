"""Whether runners' output is shown: ``with rekindle.enable_output():``. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_enabled = 0


@contextmanager
def enable_output() -> Iterator[None]:
    """Show what functions print, and rekindle's own notes, while apps that start within run.

    The command line does this by itself; a program that calls ``app.run()`` is silent without it.
    """
    global _enabled
    _enabled += 1
    try:
        yield
    finally:
        _enabled -= 1


def is_enabled() -> bool:
    """Whether an app that starts now shows its output."""
    return _enabled > 0
