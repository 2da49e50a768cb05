"""Small traces for the tests of tuning."""

from collections.abc import Mapping, Sequence

from rekindle.bench.tune.trace import Arrivals, TracedFunction, in_memory
from rekindle.controller.policies.policy import PoolSettings
from rekindle.wire.pools import Figures, Level

MIB = 1024 * 1024

SNAPSHOT: Mapping[Level, Figures] = {
    Level.WARM: Figures(start_s=0.0, memory_bytes=50 * MIB),
    Level.SPARE: Figures(start_s=0.003, memory_bytes=4 * MIB, cpu_s=0.003),
    Level.MAPPED: Figures(start_s=0.008, memory_bytes=350 * MIB, cpu_s=0.01),
    Level.CACHED: Figures(start_s=0.02, memory_bytes=300 * MIB, cpu_s=0.02),
    Level.DISK: Figures(start_s=0.3, disk_bytes=300 * MIB, cpu_s=0.02),
    Level.NONE: Figures(start_s=3.0, cpu_s=3.0),
}


def plain(start_s: float, memory_mib: int = 100, gpus: float = 0.0) -> dict[Level, Figures]:
    """A function with warm and cold alone."""
    return {
        Level.WARM: Figures(start_s=0.0, memory_bytes=memory_mib * MIB, gpus=gpus),
        Level.NONE: Figures(start_s=start_s, cpu_s=start_s),
    }


def trace(
    arrivals: Sequence[tuple[float, float]],
    levels: Mapping[Level, Figures],
    settings: PoolSettings | None = None,
    duration_s: float | None = None,
) -> Arrivals:
    """One function; (arrives, runs for)."""
    function = TracedFunction(label="f", levels=levels, settings=settings or PoolSettings())
    return in_memory(
        [function], ((when, 0, service) for when, service in arrivals), duration_s=duration_s
    )
