"""How quick a piece of work was, and what it cost: a row of a table."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any


async def measured(
    work: Awaitable[object], inputs: int, used: Callable[[], dict[str, float]]
) -> dict[str, Any]:
    """Inputs a second, and microseconds of processor time an input, by what ``used`` names.

    ``used``: the seconds of processor time until now, each by the name of its microseconds.
    """
    before, began = used(), time.perf_counter()
    await work
    took_s, after = time.perf_counter() - began, used()
    each = {name: round(1e6 * (after[name] - before[name]) / inputs, 1) for name in before}
    return {"inputs": inputs, "inputs_per_second": round(inputs / took_s, 1), **each}
