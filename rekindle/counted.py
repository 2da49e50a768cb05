"""How many of what: "1 app", "2,000 apps"."""

from __future__ import annotations


def counted(count: int, of: str, several: str = "") -> str:
    """``of``: the name of one; ``several``: of more than one, where that is no "s" behind it."""
    return f"{count:,} {of if count == 1 else several or f'{of}s'}"
