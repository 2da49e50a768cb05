"""How the GPUs of a machine reach each other: NVLink, PCIe switches, host bridges, NUMA nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from rekindle.gpu_restore.nvml import (
    MAX_LINKS,
    P2P_NVLINK,
    P2P_OK,
    REMOTE_SWITCH,
    Handle,
    Nvml,
    ask,
    text,
)


class Level(IntEnum):
    """The closest way between two GPUs; smaller is closer. After NVLink they are NVML's own."""

    NVLINK = 0
    BOARD = 1  # two chips of one board
    SWITCH = 10  # one PCIe switch
    SWITCHES = 20  # several PCIe switches, no host bridge
    BRIDGE = 30  # one host bridge
    NODE = 40  # host bridges of one NUMA node
    SYSTEM = 50  # between NUMA nodes


@dataclass(frozen=True)
class Link:
    """Between two GPUs."""

    level: Level
    nvlinks: int = 0  # how many NVLinks join them, directly or by way of switches

    def __str__(self) -> str:
        return f"NV{self.nvlinks}" if self.level is Level.NVLINK else self.level.name.lower()


#: The end of an NVLink that is no GPU's.
SWITCH = "switch"
#: Of two devices of which nothing is known.
FAR = Link(Level.SYSTEM)
#: By the UUIDs of two GPUs, in order.
Links = Mapping[tuple[str, str], Link]


def between(links: Links, one: str, other: str) -> Link:
    """The link of two GPUs."""
    return links.get(_pair(one, other), FAR)


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)


def links(
    nvml: Nvml, handles: Sequence[Handle], uuids: Sequence[str], buses: Sequence[str]
) -> dict[tuple[str, str], Link]:
    """Of all pairs; ``buses``: the bus id of each GPU."""
    ends = [Counter(nvlink_ends(nvml, handle)) for handle in handles]
    found: dict[tuple[str, str], Link] = {}
    for i, one in enumerate(handles):
        for j in range(i + 1, len(handles)):
            direct = ends[i][buses[j]]
            switched = min(ends[i][SWITCH], ends[j][SWITCH])
            count = direct or (switched if _by_nvlink(nvml, one, handles[j]) else 0)
            level = Level.NVLINK if count else _level(nvml, one, handles[j])
            found[_pair(uuids[i], uuids[j])] = Link(level, count)
    return found


def bus_id(said: str) -> str:
    """As sysfs has it: four digits of domain and small letters."""
    domain, _, rest = said.lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else said


def nvlink_ends(nvml: Nvml, handle: Handle) -> list[str]:
    """Where the active NVLinks of a GPU lead: the bus ids of other GPUs, or ``switch``."""
    found: list[str] = []
    for number in range(MAX_LINKS):
        if not ask(nvml, lambda: nvml.nvmlDeviceGetNvLinkState(handle, number), 0):  # noqa: B023
            continue
        kind = ask(nvml, lambda: nvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, number), -1)  # noqa: B023
        if kind == REMOTE_SWITCH:
            found.append(SWITCH)
        else:
            remote = ask(
                nvml,
                lambda: nvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, number).busId,  # noqa: B023
                "",
            )
            found.append(bus_id(text(remote)))
    return found


def _by_nvlink(nvml: Nvml, one: Handle, other: Handle) -> bool:
    """Whether they reach each other through the switches."""
    status = ask(nvml, lambda: nvml.nvmlDeviceGetP2PStatus(one, other, P2P_NVLINK), -1)
    return status == P2P_OK


def _level(nvml: Nvml, one: Handle, other: Handle) -> Level:
    said = ask(nvml, lambda: nvml.nvmlDeviceGetTopologyCommonAncestor(one, other), Level.SYSTEM)
    if said == 0:  # NVML_TOPOLOGY_INTERNAL
        return Level.BOARD
    return next((level for level in Level if level > Level.BOARD and said <= level), Level.SYSTEM)
