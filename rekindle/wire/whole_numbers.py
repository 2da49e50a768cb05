"""Whole numbers that variables of the environment say. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rekindle.exception import InvalidError

#: What the messages of the contract can carry (int64).
MOST = (1 << 63) - 1
_DIGITS = len(str(MOST))


def said(
    variable: str,
    what: str,
    *,
    least: int = 0,
    most: int = MOST,
    environ: Mapping[str, str] | None = None,
) -> int | None:
    """The number; None where the variable is not set, or empty.

    ``what``: the words for what it must be. Raises InvalidError, naming the variable.
    """
    text = (os.environ if environ is None else environ).get(variable, "")
    if not text:
        return None
    number = parsed(text)
    if number is None or not least <= number <= most:
        raise InvalidError(f"{variable}={text[:99]!r} must be {what}")
    return number


def parsed(text: str) -> int | None:
    """The number that a text is; None of any other, and of one that no message can carry."""
    if not text.isdecimal() or len(text.lstrip("0")) > _DIGITS:
        return None
    number = int(text.lstrip("0") or "0")
    return number if number <= MOST else None
