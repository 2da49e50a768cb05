"""GPUs of one node or several, and who holds which: all that placement looks at.

A device is held whole by one owner, or in shares of its memory by several. Shares are accounted,
not enforced: nothing here keeps a process within its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from rekindle.exception import InternalFailure
from rekindle.gpu_restore.inventory import Inventory
from rekindle.gpu_restore.links import FAR, Link, Links, between

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU that is not in MIG mode, or an instance of one that is."""

    uuid: str
    model: str
    memory_mib: int
    index: int = 0  # as nvidia-smi counts GPUs; of an instance, its GPU's
    profile: str = ""  # of an instance: "1g.10gb"
    numa_node: int | None = None


@dataclass(frozen=True)
class Node:
    """The devices of one machine."""

    name: str
    devices: tuple[Device, ...]
    links: Links = field(default_factory=dict)

    def link(self, one: Device, other: Device) -> Link:
        """Between two of its devices; instances are joined to nothing."""
        return FAR if one.profile or other.profile else between(self.links, one.uuid, other.uuid)


def node_of(found: Inventory, name: str = "") -> Node:
    """A machine's devices: the instances of a GPU in MIG mode in its place."""
    devices: list[Device] = []
    for gpu in found.gpus:
        whole = Device(
            uuid=gpu.uuid,
            model=gpu.model,
            memory_mib=gpu.memory_bytes // _MIB,
            index=gpu.index,
            numa_node=gpu.numa_node,
        )
        parts = [
            replace(
                whole,
                uuid=one.uuid,
                memory_mib=one.memory_bytes // _MIB,
                profile=one.profile,
            )
            for one in gpu.instances
        ]
        devices += parts if gpu.is_mig else [whole]
    return Node(name, tuple(devices), found.links)


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What one owner has."""

    owner: str
    devices: tuple[Device, ...]
    memory_mib: int = 0  # of its one device; 0: all of each
    priority: int = 0
    since: float = 0.0  # seconds, by whatever clock the caller has


class Fleet:
    """Devices and their holders."""

    def __init__(self, nodes: Iterable[Node], holdings: Iterable[Holding] = ()) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.holdings: dict[str, Holding] = {}
        #: UUID -> MiB that processes hold which were not placed here.
        self.foreign: dict[str, int] = {}
        #: UUIDs of devices that are not there any more; who holds one holds it, nobody gets it.
        self.lost: frozenset[str] = frozenset()
        self._on: dict[str, dict[str, Holding]] = {}
        for one in holdings:
            self.take(one)

    def take(self, holding: Holding) -> None:
        """Give devices to an owner. Raises InternalFailure where that is not possible."""
        if holding.owner in self.holdings:
            raise InternalFailure(f"{holding.owner} holds GPUs already")
        for device in holding.devices:
            fits = (
                holding.memory_mib <= self.room_mib(device)
                if holding.memory_mib and not device.profile
                else self.is_free(device)
            )
            if not fits:
                raise InternalFailure(f"{device.uuid} has no room for {holding.owner}")
        self._keep(holding)

    def hand_over(self, owner: str, to: str, since: float) -> None:
        """What an owner has is another's from then on, whatever has been taken beside it."""
        holding = self.release(owner)
        if holding is None:
            raise InternalFailure(f"{owner} holds no GPUs to hand over")
        self._keep(replace(holding, owner=to, since=since))

    def _keep(self, holding: Holding) -> None:
        self.holdings[holding.owner] = holding
        for device in holding.devices:
            self._on.setdefault(device.uuid, {})[holding.owner] = holding

    def release(self, owner: str) -> Holding | None:
        """Take back what an owner has; None where it has nothing."""
        holding = self.holdings.pop(owner, None)
        if holding is not None:
            for device in holding.devices:
                del self._on[device.uuid][owner]
        return holding

    def holders(self, device: Device) -> Collection[Holding]:
        """Who has a device, or a share of it."""
        return self._on.get(device.uuid, {}).values()

    def is_free(self, device: Device) -> bool:
        """Whether no one has any of it."""
        return not self._on.get(device.uuid)

    def room_mib(self, device: Device) -> int:
        """What may be taken of it in shares; an instance is taken whole."""
        holders = self.holders(device)
        if any(not one.memory_mib for one in holders) or (device.profile and holders):
            return 0
        left = device.memory_mib - self.foreign.get(device.uuid, 0)
        return max(0, left - sum(one.memory_mib for one in holders))

    def without(self, owners: Collection[str]) -> Fleet:
        """As it would be without some owners."""
        left = Fleet(
            self.nodes.values(), (one for one in self.holdings.values() if one.owner not in owners)
        )
        left.foreign, left.lost = self.foreign, self.lost
        return left

    def empty(self) -> Fleet:
        """As it would be without any."""
        left = Fleet(self.nodes.values())
        left.lost = self.lost
        return left

    def devices(self) -> Iterator[Device]:
        """All of them, those that are lost too."""
        for node in self.nodes.values():
            yield from node.devices

    def devices_there(self) -> list[Device]:
        """Without those that are lost."""
        return [device for device in self.devices() if device.uuid not in self.lost]


def describe(devices: Iterable[Device]) -> str:
    """What there is, for messages: ``2 x H100 (80 GiB), 1 x A10G (22 GiB)``."""
    counts: dict[str, int] = {}
    for one in devices:
        part = f" {one.profile}" if one.profile else ""
        name = f"{one.model}{part} ({one.memory_mib / 1024:.0f} GiB)"
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} x {name}" for name, count in counts.items()) or "no GPU"


def shares_of(fleet: Fleet) -> Mapping[str, float]:
    """Owner -> GPUs that it holds; a share counts by its part of the memory."""
    return {
        one.owner: sum(
            one.memory_mib / device.memory_mib if one.memory_mib and not device.profile else 1.0
            for device in one.devices
        )
        for one in fleet.holdings.values()
    }
