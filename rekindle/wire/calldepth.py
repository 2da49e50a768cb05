"""How many calls a call may be made inside of. Standard library only: templates import it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rekindle.exception import InvalidError

#: Where REKINDLE_MAX_CALL_DEPTH does not say else...
DEFAULT_MAX_DEPTH = 64
#: ...and at most: a depth travels in seven bits.
MOST_DEPTH = 100
VARIABLE = "REKINDLE_MAX_CALL_DEPTH"


def max_depth(environ: Mapping[str, str] | None = None) -> int:
    """``$REKINDLE_MAX_CALL_DEPTH``. Raises InvalidError for what is no number from 1 to 100."""
    text = (os.environ if environ is None else environ).get(VARIABLE) or str(DEFAULT_MAX_DEPTH)
    if not text.isdecimal() or not 1 <= int(text) <= MOST_DEPTH:
        raise InvalidError(f"{VARIABLE}={text!r} must be a number from 1 to {MOST_DEPTH}")
    return int(text)
