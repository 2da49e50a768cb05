"""How many calls a call may be made inside of. Standard library only: templates import it."""

from __future__ import annotations

from collections.abc import Mapping

from rekindle.wire import whole_numbers

#: Where REKINDLE_MAX_CALL_DEPTH does not say else...
DEFAULT_MAX_DEPTH = 64
#: ...and at most: a depth travels in seven bits.
MOST_DEPTH = 100
VARIABLE = "REKINDLE_MAX_CALL_DEPTH"


def max_depth(environ: Mapping[str, str] | None = None) -> int:
    """``$REKINDLE_MAX_CALL_DEPTH``. Raises InvalidError for what is no number from 1 to 100."""
    what = f"a number from 1 to {MOST_DEPTH}"
    found = whole_numbers.said(VARIABLE, what, least=1, most=MOST_DEPTH, environ=environ)
    return DEFAULT_MAX_DEPTH if found is None else found
