"""Who waits for GPUs, and whom others may pass: nobody of the same priority starves.

Higher priorities go first and are not passed by lower ones, then who has waited longer. Others of
its priority may pass one that waits, so that no device idles for it, until it has waited
``patience_s``; from then on devices that it could use are kept for it as they become free, until it
has enough of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rekindle.gpu_restore.placement.devices import Device, Fleet, Node
from rekindle.gpu_restore.placement.packing import serves_any
from rekindle.wire.gpus import GpuRequest

#: Seconds after which nobody passes any more.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Waiting:
    """One that waits."""

    key: str
    wanted: tuple[GpuRequest, ...]
    priority: int
    since: float


@dataclass
class Line:
    """Those that wait."""

    patience_s: float = PATIENCE_S
    _waiting: dict[str, Waiting] = field(default_factory=dict)

    def add(self, key: str, wanted: Sequence[GpuRequest], priority: int, now: float) -> None:
        """It waits from now on; nothing changes for one that waits already."""
        self._waiting.setdefault(key, Waiting(key, tuple(wanted), priority, now))

    def remove(self, key: str) -> None:
        """It was served, or has gone."""
        self._waiting.pop(key, None)

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def in_order(self) -> list[Waiting]:
        """Whose turn is first."""
        return sorted(self._waiting.values(), key=_turn)

    def barred(self, fleet: Fleet, key: str, priority: int, now: float) -> frozenset[str]:
        """UUIDs of devices that ``key`` must not take, as they are kept for others."""
        kept: set[str] = set()
        mine = self._waiting.get(key, Waiting(key, (), priority, now))
        total = sum(len(node.devices) for node in fleet.nodes.values())
        for one in self.in_order():
            if _turn(one) >= _turn(mine) or len(kept) == total:
                break
            if one.priority > priority or now - one.since >= self.patience_s:
                kept |= _kept(fleet, one, kept)
        return frozenset(kept)


def _turn(one: Waiting) -> tuple[float, float, str]:
    return -one.priority, one.since, one.key


def _kept(fleet: Fleet, one: Waiting, before: set[str]) -> set[str]:
    """The devices that one waits for: those of the node where most of them are free already."""
    request = one.wanted[0]
    fitting = serves_any(fleet, request) - before
    if not fitting:
        return set()

    def suitable(node: Node) -> list[Device]:
        """Free ones first, then those that were taken first."""
        devices = [device for device in node.devices if device.uuid in fitting]
        return sorted(devices, key=lambda device: _taken(fleet, device, request))

    def missing(node: Node) -> tuple[int, float]:
        chosen = suitable(node)[: request.count]
        held = [_taken(fleet, device, request) for device in chosen]
        return request.count - len(chosen), sum(held)

    node = min(fleet.nodes.values(), key=missing)
    return {device.uuid for device in suitable(node)[: request.count]}


def _taken(fleet: Fleet, device: Device, request: GpuRequest) -> float:
    if fleet.is_free(device) or (
        request.memory_mib and fleet.room_mib(device) >= request.memory_mib
    ):
        return 0.0
    return 1.0 + max(one.since for one in fleet.holders(device)) / 1e12
