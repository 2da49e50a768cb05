"""Packing policies: which of the options is taken. ``bench/gpu_packing.py`` compares them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rekindle.gpu_restore import models
from rekindle.gpu_restore.placement.devices import Fleet, Node
from rekindle.gpu_restore.placement.options import Cost, Option, options
from rekindle.wire.gpus import GpuRequest


class Packing(Protocol):
    """Says how good an option is."""

    @property
    def name(self) -> str: ...

    def cost(self, option: Option, fleet: Fleet) -> Cost:
        """Smaller is better; equal ones go by the order of nodes and devices."""

    def saw(self, request: GpuRequest) -> None:
        """Such a request was made: for policies that look ahead."""


def choose(
    fleet: Fleet,
    wanted: Sequence[GpuRequest],
    packing: Packing,
    barred: Collection[str] = frozenset(),
) -> Option | None:
    """The best option; None where nothing is free. ``barred``: UUIDs that must not be taken."""
    return best(options(fleet, wanted, barred), fleet, packing)


def best(found: Sequence[Option], fleet: Fleet, packing: Packing) -> Option | None:
    """The best of some options: those of the model that was asked for before those in its place."""
    return min(
        found, key=lambda option: (option.substitute, *packing.cost(option, fleet)), default=None
    )


@dataclass(frozen=True)
class FirstFit:
    """The first that fits, however its devices are linked."""

    name: str = "first-fit"

    def cost(self, option: Option, fleet: Fleet) -> Cost:
        """All are alike."""
        return ()

    def saw(self, request: GpuRequest) -> None:
        """Nothing is learned."""


@dataclass(frozen=True)
class BestFit:
    """Where least is left over: shares are put together, whole GPUs are left together."""

    name: str = "best-fit"

    def cost(self, option: Option, fleet: Fleet) -> Cost:
        """Links; then what a share leaves of its device, or what a group leaves of its node."""
        if option.memory_mib:
            (device,) = option.devices
            opens = fleet.is_free(device) and not device.profile
            return opens, fleet.room_mib(device) - option.memory_mib
        return (
            *option.linkage(),
            option.devices[0].memory_mib,
            _free_on(fleet, option.node),
            *_left(fleet, option),
        )

    def saw(self, request: GpuRequest) -> None:
        """Nothing is learned."""


@dataclass(frozen=True)
class WorstFit:
    """Where most is left: work is spread, each has as much of a device for itself as there is."""

    name: str = "worst-fit"

    def cost(self, option: Option, fleet: Fleet) -> Cost:
        """Links; then the room of the device, or of the node."""
        if option.memory_mib:
            return (-fleet.room_mib(option.devices[0]),)
        return *option.linkage(), -_free_on(fleet, option.node)

    def saw(self, request: GpuRequest) -> None:
        """Nothing is learned."""


@dataclass
class LeastFragmentation:
    """Where the least memory becomes useless to the requests that are usual here.

    Fragmentation gradient descent (Weng et al., USENIX ATC 2023): of a node, for each kind of
    request, the room that it cannot use counts as lost; weighted by how often the kind is asked
    for. What was seen is forgotten by and by, so that the weights follow what is asked for now.
    """

    name: str = "least-fragmentation"
    #: (GPUs, MiB of a share) -> how often, the newest counting most.
    kinds: dict[tuple[int, int], float] = field(default_factory=dict)

    def cost(self, option: Option, fleet: Fleet) -> Cost:
        """Links; then how much more is lost; then as best-fit."""
        before = self._lost(fleet, option.node, {})
        taken = {
            device.uuid: option.memory_mib if not device.profile else 0 for device in option.devices
        }
        more = self._lost(fleet, option.node, taken) - before
        first = () if option.memory_mib else option.linkage()
        return *first, more, *BestFit().cost(option, fleet)

    def saw(self, request: GpuRequest) -> None:
        """Count it."""
        for kind in self.kinds:
            self.kinds[kind] *= 0.99
        kind = (request.count, request.memory_mib)
        self.kinds[kind] = self.kinds.get(kind, 0.0) + 1.0

    def _lost(self, fleet: Fleet, node: Node, taken: Mapping[str, int]) -> float:
        """MiB of a node that are of no use, once some of it is taken as well."""
        rooms, free = [], 0
        for device in node.devices:
            room = fleet.room_mib(device)
            is_free = fleet.is_free(device) and device.uuid not in taken
            if device.uuid in taken:
                room = max(0, room - taken[device.uuid]) if taken[device.uuid] else 0
            rooms.append((room, is_free))
            free += is_free
        total = sum(self.kinds.values()) or 1.0
        lost = 0.0
        for (count, memory_mib), weight in self.kinds.items():
            if memory_mib:
                useless = sum(room for room, _ in rooms if room < memory_mib)
            elif free < count:
                useless = sum(room for room, _ in rooms)
            else:
                useless = sum(room for room, is_free in rooms if not is_free)
            lost += weight / total * useless
        return lost


def policies() -> list[Packing]:
    """One of each."""
    return [BestFit(), FirstFit(), WorstFit(), LeastFragmentation()]


def make(name: str) -> Packing:
    """A policy by its name. Raises ValueError that lists them."""
    for one in policies():
        if one.name == name:
            return one
    names = ", ".join(one.name for one in policies())
    raise ValueError(f"{name!r} is no packing policy; it is one of {names}")


def _free_on(fleet: Fleet, node: Node) -> int:
    return sum(1 for device in node.devices if fleet.is_free(device))


def _left(fleet: Fleet, option: Option) -> Cost:
    """What the rest of the node is worth to groups to come; smaller is better."""
    rest = [
        device
        for device in option.node.devices
        if fleet.is_free(device) and device not in option.devices and not device.profile
    ]
    pairs = list(itertools.combinations(rest, 2))
    nvlinks = sum(option.node.link(one, other).nvlinks for one, other in pairs)
    levels = sum(option.node.link(one, other).level for one, other in pairs)
    return -nvlinks, levels


def serves_any(fleet: Fleet, request: GpuRequest) -> frozenset[str]:
    """UUIDs of the devices that could serve a request, held or not."""
    return frozenset(
        device.uuid
        for device in fleet.devices()
        if (
            models.may_share(device, request.model) is not None
            and device.memory_mib >= request.memory_mib
            if request.memory_mib
            else models.serves(device, request.model) is not None
        )
    )
