"""What an instance has besides what it answers: counted before and after many starts."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rekindle.linux.maps import rollup
from starting.places import Place

#: Those that are there once, and that no start makes.
DAEMONS = ("supervisor", "redis", "controller", "agent")
#: A process of an instance by what its command line has.
_ROLES = {
    "rekindle.sdk.local.supervisor": "supervisor",
    "rekindle.controller": "controller",
    "rekindle.runtime.agent": "agent",
    "rekindle.runtime.isolation.spawner": "spawner",
    "rekindle.runtime.runner.main": "template",
}


@dataclass(frozen=True)
class Inventory:
    """How many there are of each thing, by its name."""

    counts: dict[str, int]
    #: Private memory of what stays, by role.
    memory: dict[str, int] = field(default_factory=dict)


def take(place: Place) -> Inventory:
    """What there is now, once the instance is quiet."""
    place.at.settle()
    counts: dict[str, int] = {}
    memory: dict[str, int] = {}
    for process in place.at.processes():
        with contextlib.suppress(psutil.Error, OSError):
            role = role_of(process)
            for name, number in (
                (f"processes: {role}", 1),
                (f"descriptors: {role}", process.num_fds()),
                (f"mounts: {role}", _lines(Path(f"/proc/{process.pid}/mountinfo"))),
            ):
                counts[name] = counts.get(name, 0) + number
            memory[role] = memory.get(role, 0) + sum(
                held for name, held in rollup(process.pid).items() if name.startswith("Private_")
            )
    counts["cgroups"] = sum(1 for _ in os.walk("/sys/fs/cgroup"))
    counts["/dev/shm"] = len(os.listdir("/dev/shm"))
    counts["mounts of the machine"] = _lines(Path("/proc/self/mountinfo"))
    directory = place.at.directory
    counts["files of the instance"] = sum(len(files) for _, _, files in os.walk(directory))
    counts["directories of the instance"] = sum(1 for _ in os.walk(directory))
    return Inventory(counts, memory)


def more(before: Inventory, after: Inventory) -> dict[str, int]:
    """What there is more of afterwards, and by how much."""
    names = sorted({*before.counts, *after.counts})
    grown = {name: after.counts.get(name, 0) - before.counts.get(name, 0) for name in names}
    return {name: number for name, number in grown.items() if number > 0}


def growth(before: Inventory, after: Inventory) -> dict[str, int]:
    """Bytes that each role holds more, or fewer."""
    return {
        role: held - before.memory[role]
        for role, held in after.memory.items()
        if role in before.memory
    }


def role_of(process: psutil.Process) -> str:
    """What it is in an instance."""
    line = process.cmdline()
    if role := next((name for module, name in _ROLES.items() if module in line), ""):
        return role
    if any("criu" in word for word in line):
        return "criu"
    return "redis" if any("redis" in word for word in line) else Path(line[0]).name


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())
