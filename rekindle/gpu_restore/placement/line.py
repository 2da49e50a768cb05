"""Who waits for GPUs, and whom others may pass: nobody of the same priority starves.

Higher priorities go first and are not passed by lower ones, then who has waited longer. Others of
its priority may pass one that waits, so that no device idles for it. Once the first of a priority
has waited ``patience_s``, devices that it could use are kept for it as they become free, until it
has enough of them. For the first alone: with devices kept for each that waits, most would idle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        """Put a request in the line; one that waits already keeps its place."""
        self._waiting.setdefault(key, Waiting(key, tuple(wanted), priority, now))

    def remove(self, key: str) -> None:
        """Take a request out of the line: it was served, or has gone."""
        self._waiting.pop(key, None)

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def in_order(self) -> list[Waiting]:
        """All that wait, the one whose turn is first first."""
        return sorted(self._waiting.values(), key=_turn)

    def barred(self, fleet: Fleet, key: str, priority: int, now: float) -> frozenset[str]:
        """UUIDs of devices that ``key`` must not take, as they are kept for others."""
        mine = _turn(self._waiting.get(key, Waiting(key, (), priority, now)))
        kept = _Kept(fleet, self.patience_s, now)
        for one in self.in_order():
            if _turn(one) >= mine or kept.all:
                break
            kept.add(one)
        return kept.for_priority(priority)

    def could_use(self, fleet: Fleet, but: str) -> frozenset[str]:
        """UUIDs of devices that some other one than ``but`` which waits could use."""
        return frozenset(
            uuid
            for one in self._waiting.values()
            if one.key != but
            for request in one.wanted
            for uuid in serves_any(fleet, request)
        )

    def turns(self, fleet: Fleet, now: float) -> Iterator[tuple[Waiting, frozenset[str]]]:
        """Each that waits, with the devices that it must not take; until all are kept. The fleet
        may be changed meanwhile."""
        kept = _Kept(fleet, self.patience_s, now)
        for one in self.in_order():
            barred = kept.for_priority(one.priority)
            if kept.all:
                return
            yield one, barred
            if one.key in self._waiting:  # it was not served
                kept.add(one)


class _Kept:
    """The devices that are kept for those in front."""

    def __init__(self, fleet: Fleet, patience_s: float, now: float) -> None:
        self._fleet = fleet
        self._before = now - patience_s
        self._count = sum(len(node.devices) for node in fleet.nodes.values())
        self._kept: set[str] = set()
        self._has_first: set[int] = set()
        self._may_be_passed: list[Waiting] = []

    @property
    def all(self) -> bool:
        """Whether there is nothing left to keep."""
        return len(self._kept) == self._count

    def add(self, one: Waiting) -> None:
        """The next one in the line."""
        self._settle(one.priority)
        if one.since <= self._before and one.priority not in self._has_first:
            self._has_first.add(one.priority)
            self._kept |= _kept(self._fleet, one, self._kept)
        else:
            self._may_be_passed.append(one)

    def for_priority(self, priority: int) -> frozenset[str]:
        """What one of this priority must not take."""
        self._settle(priority)
        return frozenset(self._kept)

    def _settle(self, priority: int) -> None:
        """Nobody of a lower priority passes, however short the wait."""
        passed = [one for one in self._may_be_passed if one.priority > priority]
        for one in passed:
            self._kept |= _kept(self._fleet, one, self._kept)
            self._may_be_passed.remove(one)


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
