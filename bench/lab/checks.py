"""A promise checked against figures: kept, broken, or not measured. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A promise, with what was measured; ``kept`` is None where it was not."""

    text: str
    kept: bool | None


def times(ratio: float) -> str:
    """A ratio within a sentence."""
    return "not measured" if math.isnan(ratio) else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def all_kept(*parts: tuple[bool, float]) -> bool | None:
    """Each part: whether it holds, and the figure by which. NaN is not measured.

    False where one is broken; None where none is and something was not measured.
    """
    known = [holds for holds, figure in parts if not math.isnan(figure)]
    if not all(known):
        return False
    return True if known and len(known) == len(parts) else None
