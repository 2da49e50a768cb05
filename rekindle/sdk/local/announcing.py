"""What is said of the instance that a program uses, in words; the command line shows it.

Standard library only. Knows nothing of instances.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

#: Gets it; None in a program that nobody has told where to show it.
announce: Callable[[str], None] | None = None


def say_nothing(_text: str) -> None:
    """For ``announce``, where not even what stays is to be told."""


def say(text: str, *, stays: bool = False) -> None:
    """Say it; what ``stays`` when a program has ended is told on any terminal."""
    if announce is not None:
        announce(text)
    elif stays and sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(text + "\n")
