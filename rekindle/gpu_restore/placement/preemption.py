"""Who makes room for a request that nothing is free for. Whether and how they go is the caller's.

Idle holders go first, then those of the lowest priority, then whoever has had theirs for the
shortest time: the least work is lost. A holder of the same or a higher priority is never named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rekindle.gpu_restore.placement.devices import Fleet, Holding
from rekindle.gpu_restore.placement.options import Cost, Option, options
from rekindle.gpu_restore.placement.packing import Packing
from rekindle.wire.gpus import GpuRequest


@dataclass(frozen=True)
class Preemption:
    """What would be taken, and from whom."""

    option: Option
    victims: tuple[Holding, ...]


def preempt(
    fleet: Fleet,
    wanted: Sequence[GpuRequest],
    priority: int,
    packing: Packing,
    is_idle: Callable[[Holding], bool] = lambda _holding: False,
    may_go: Callable[[Holding], bool] = lambda _holding: True,
) -> Preemption | None:
    """Whom to take devices from; None where that does not help.

    ``is_idle``: a holder that loses nothing, whatever its priority. ``may_go``: False for one that
    stays in any case, or is on its way out already.
    """
    going = {
        one.owner: one
        for one in fleet.holdings.values()
        if may_go(one) and (is_idle(one) or one.priority < priority)
    }
    if not going:
        return None
    cleared = fleet.without(going)
    best: tuple[Cost, Preemption] | None = None
    for option in options(cleared, wanted, every=True):
        victims = _victims(fleet, option, going, is_idle)
        cost = _cost(victims, is_idle) + (option.substitute, *packing.cost(option, cleared))
        if best is None or cost < best[0]:
            best = cost, Preemption(option, victims)
    return best[1] if best is not None else None


def _victims(
    fleet: Fleet,
    option: Option,
    going: dict[str, Holding],
    is_idle: Callable[[Holding], bool],
) -> tuple[Holding, ...]:
    holders = {
        one.owner: one
        for device in option.devices
        for one in fleet.holders(device)
        if one.owner in going
    }
    if not option.memory_mib:
        return tuple(holders.values())
    # Of those that share its device only as many as it takes.
    (device,) = option.devices
    missing = option.memory_mib - fleet.room_mib(device)
    named: list[Holding] = []
    for one in sorted(holders.values(), key=lambda one: _cost((one,), is_idle)):
        if missing <= 0:
            break
        named.append(one)
        missing -= one.memory_mib or device.memory_mib
    return tuple(named)


def _cost(victims: Sequence[Holding], is_idle: Callable[[Holding], bool]) -> Cost:
    busy = [one for one in victims if not is_idle(one)]
    return (
        max((one.priority for one in busy), default=float("-inf")),
        len(busy),
        -sum(one.since for one in busy),
        len(victims),
    )
