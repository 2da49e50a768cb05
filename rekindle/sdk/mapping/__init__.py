"""``map`` and its family: inputs fed as they are taken, results as they come, both bounded.

A feeder (a thread, or a task of the caller's loop) takes inputs from the user's iterators and
pickles them; the background thread submits many in one request, several requests at a time, and
reads the results, many in one message; the consumer is the caller's iteration. The feeder waits
when too many inputs have no taken result, so neither side runs away from the other.

``blocking`` and ``aio`` are the two fronts; ``call`` is what they share.
"""

from __future__ import annotations

from rekindle.sdk.calls.map_call import MapOptions
from rekindle.sdk.calls.mapping import run, spawn
from rekindle.sdk.mapping.aio import run_aio, spawn_aio

__all__ = ["MapOptions", "run", "run_aio", "spawn", "spawn_aio"]
