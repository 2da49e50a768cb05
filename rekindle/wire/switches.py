"""Variables of the environment that say yes or no. Standard library only."""

from __future__ import annotations

import os

from rekindle.exception import InvalidError

TRACEBACK = "REKINDLE_TRACEBACK"
_NO, _YES = ("0", "no", "false", "off"), ("1", "yes", "true", "on")


def is_on(variable: str, *, unset: bool) -> bool:
    """What a variable says; ``unset`` where it is not set. Raises InvalidError."""
    text = os.environ.get(variable, "").strip().lower()
    if text in _YES or text in _NO:
        return text in _YES
    if text:
        raise InvalidError(f"{variable}={text!r} must be 1, or 0 for no")
    return unset


def asks_for_tracebacks() -> bool:
    """``$REKINDLE_TRACEBACK``; for who reports an error already: a wrong value is a no."""
    try:
        return is_on(TRACEBACK, unset=False)
    except InvalidError:
        return False
