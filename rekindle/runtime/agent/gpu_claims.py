"""What a start asks and gets of a node's GPUs, and what its runner is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rekindle.gpu_restore.placement.devices import Device
from rekindle.wire.gpus import GpuRequest


@dataclass(eq=False)
class Asking:
    """Whose starts ask, and what for."""

    #: Of a pool.
    key: str
    wanted: tuple[GpuRequest, ...]
    priority: int


@dataclass(frozen=True)
class Given:
    """What a runner gets of its devices: variables, and device files that it must not open."""

    devices: tuple[Device, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    hidden: Sequence[str] = ()

    @property
    def uuids(self) -> list[str]:
        """Its devices."""
        return [device.uuid for device in self.devices]


@dataclass(frozen=True)
class Claim:
    """What one start gets, under the name that it is held by; "" where that is nothing."""

    owner: str
    given: Given
