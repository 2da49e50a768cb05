"""Has requests placed on recorded machines."""

from __future__ import annotations

from rekindle.gpu_restore.placement.devices import Fleet, Holding
from rekindle.gpu_restore.placement.options import Option
from rekindle.gpu_restore.placement.packing import (
    BestFit,
    Packing,
    choose,
)
from rekindle.gpu_restore.request import parse


def place(
    fleet: Fleet,
    gpu: object,
    memory: int | None = None,
    *,
    owner: str = "",
    packing: Packing | None = None,
    priority: int = 0,
    since: float = 0.0,
) -> Option | None:
    """Choose, and take what was chosen."""
    option = choose(fleet, parse(gpu, memory), packing or BestFit())
    if option is not None:
        fleet.take(
            Holding(
                owner=owner or f"owner-{len(fleet.holdings)}",
                devices=option.devices,
                memory_mib=option.memory_mib,
                priority=priority,
                since=since,
            )
        )
    return option
