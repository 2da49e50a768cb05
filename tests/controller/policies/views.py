"""Views of pools for the tests of policies."""

from collections.abc import Mapping
from typing import Any

from rekindle.controller.policies.policy import PoolSettings, PoolView
from rekindle.wire.pools import Figures, Level

MIB = 1024 * 1024

#: A function with a snapshot: figures like those measured for a model of 1 GB.
SNAPSHOT: Mapping[Level, Figures] = {
    Level.WARM: Figures(start_s=0.0, memory_bytes=44 * MIB),
    Level.SPARE: Figures(start_s=0.003, memory_bytes=4 * MIB, cpu_s=0.003),
    Level.MAPPED: Figures(start_s=0.0075, memory_bytes=1196 * MIB, cpu_s=0.013),
    Level.CACHED: Figures(start_s=0.016, memory_bytes=1152 * MIB, cpu_s=0.028),
    Level.DISK: Figures(start_s=0.3, disk_bytes=1152 * MIB, cpu_s=0.028),
    Level.NONE: Figures(start_s=3.4, cpu_s=3.4),
}
#: One without.
PLAIN: Mapping[Level, Figures] = {
    Level.WARM: Figures(start_s=0.0, memory_bytes=450 * MIB),
    Level.NONE: Figures(start_s=4.2, cpu_s=4.2),
}


def view(
    now: float,
    levels: Mapping[Level, Figures] = SNAPSHOT,
    settings: PoolSettings | None = None,
    **counts: Any,
) -> PoolView:
    """A pool at a moment."""
    return PoolView(now=now, levels=levels, settings=settings or PoolSettings(), **counts)
