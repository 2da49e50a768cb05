"""All ways in which a request could be served now, and how well their devices are linked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from rekindle.gpu_restore import models
from rekindle.gpu_restore.links import Level
from rekindle.gpu_restore.placement.devices import Device, Fleet, Node, describe
from rekindle.wire.gpus import GpuRequest, in_words

#: Groups of devices that are compared; where there are more, they are grown from each device.
_MOST_GROUPS = 20_000

Cost = tuple[float, ...]


@dataclass(frozen=True)
class Option:
    """Devices of one node that would serve a request."""

    node: Node
    devices: tuple[Device, ...]
    memory_mib: int = 0
    #: Of another model than asked for, which serves in its place.
    substitute: int = 0

    def linkage(self) -> Cost:
        """How its devices are linked; smaller is better: first by NVLink, then by PCIe, then by
        NUMA nodes."""
        far, nvlinks, levels = 0, 0, 0
        for one, other in itertools.combinations(self.devices, 2):
            link = self.node.link(one, other)
            far += link.level is not Level.NVLINK
            nvlinks += link.nvlinks
            levels += link.level
        numa_nodes = len({device.numa_node for device in self.devices})
        return far, -nvlinks, levels, numa_nodes


def options(
    fleet: Fleet,
    wanted: Sequence[GpuRequest],
    barred: Collection[str] = frozenset(),
    *,
    every: bool = False,
) -> list[Option]:
    """What would serve the first request of the list that can be served at all.

    ``barred``: UUIDs that must not be taken. Where devices are linked alike, one group of them
    stands for all, unless ``every`` one is asked for. Empty where none can be served now.
    """
    for request in wanted:
        if found := list(_options(fleet, request, barred, every)):
            return found
    return []


def why_never(fleet: Fleet, wanted: Sequence[GpuRequest]) -> str:
    """Why a request could not be served if no one held anything; empty where it could."""
    if options(fleet.empty(), wanted):
        return ""
    words = in_words(tuple(wanted))
    devices = fleet.devices_there()
    there = describe(devices)
    largest = max((device.memory_mib for device in devices), default=0)
    most = max(one.memory_mib for one in wanted)
    if most > largest > 0:
        there += f", and none with {most} MiB"
    if fleet.lost:
        gone = describe(one for one in fleet.devices() if one.uuid in fleet.lost)
        there += f"; {gone} cannot be asked any more, see `nvidia-smi` and the kernel's log"
    return f"gpu={words} cannot be served: there is {there}"


def _options(
    fleet: Fleet, request: GpuRequest, barred: Collection[str], every: bool
) -> Iterator[Option]:
    for node in fleet.nodes.values():
        devices = [
            device
            for device in node.devices
            if device.uuid not in barred and device.uuid not in fleet.lost
        ]
        if request.memory_mib:
            yield from _shares(fleet, node, devices, request)
        else:
            yield from _whole(fleet, node, devices, request, every)


def _shares(
    fleet: Fleet, node: Node, devices: Sequence[Device], request: GpuRequest
) -> Iterator[Option]:
    for device in devices:
        as_asked = models.may_share(device, request.model)
        if as_asked is not None and fleet.room_mib(device) >= request.memory_mib:
            yield Option(node, (device,), request.memory_mib, as_asked)


def _whole(
    fleet: Fleet, node: Node, devices: Sequence[Device], request: GpuRequest, every: bool
) -> Iterator[Option]:
    alike: dict[tuple[str, int, int], list[Device]] = {}
    for device in devices:
        as_asked = models.serves(device, request.model)
        if as_asked is not None and fleet.is_free(device):
            alike.setdefault((device.model, device.memory_mib, as_asked), []).append(device)
    for (_, _, as_asked), same in alike.items():
        if len(same) >= request.count:
            for group in groups(node, same, request.count, every=every):
                yield Option(node, group, 0, as_asked)


def groups(
    node: Node, devices: Sequence[Device], count: int, *, every: bool
) -> Iterator[tuple[Device, ...]]:
    """Groups of so many of these devices; see ``options``."""
    if count == 1:
        yield from ((device,) for device in devices)
    elif count == len(devices) or (not every and _are_alike(node, devices)):
        yield tuple(devices[:count])
    elif math.comb(len(devices), count) <= _MOST_GROUPS:
        yield from itertools.combinations(devices, count)
    else:
        yield from (_grown(node, devices, seed, count) for seed in devices)


def _are_alike(node: Node, devices: Sequence[Device]) -> bool:
    pairs = itertools.combinations(devices, 2)
    same_links = len({node.link(one, other) for one, other in pairs}) <= 1
    return same_links and len({device.numa_node for device in devices}) == 1


def _grown(node: Node, devices: Sequence[Device], seed: Device, count: int) -> tuple[Device, ...]:
    group = [seed]
    while len(group) < count:
        rest = (device for device in devices if device not in group)
        group.append(min(rest, key=lambda one: Option(node, (*group, one)).linkage()))
    return tuple(sorted(group, key=lambda device: device.index))
