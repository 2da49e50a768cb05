"""Whether a function can be called with lists of items, one list for each of its parameters.

A program asks it where it has the function, a runner where only a name was known before.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable


def why_not_in_batches(parameters: Iterable[inspect.Parameter]) -> str:
    """What goes behind "f, "; "" where it can. ``parameters``: without ``self``."""
    known = list(parameters)
    if not known:
        return "which has no parameter for items"
    for one in known:
        if one.default is not one.empty:
            return (
                f"whose parameter {one.name!r} has a default: each gets a list with a value of "
                f"every item, so leave the default out"
            )
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            return f"which takes {one}: each of its parameters is a list; name them"
    return ""
