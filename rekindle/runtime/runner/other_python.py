"""That another Python runs this process than ran its program, said where a module is missed.

Each start notes it, but the caller of a function that cannot be imported sees the error alone.
"""

from __future__ import annotations

_why = ""


def told(why: str) -> None:
    """What the agent says of it; "" where the program's own Python runs this process."""
    global _why
    _why = why


def explain(error: BaseException) -> None:
    """Add it to an error of an import, as packages of that Python are not there."""
    if _why and isinstance(error, ImportError) and _why not in getattr(error, "__notes__", ()):
        error.add_note(_why)
