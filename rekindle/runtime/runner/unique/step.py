"""One step towards being unique again: whose random numbers, and what makes them new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """``run`` draws fresh entropy for ``what``, in words for the user."""

    what: str
    run: Callable[[], object]
