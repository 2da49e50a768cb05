"""What is alive in a template when it parks, read from /proc, and what follows from it.

The choice between fork and restore is made from what is seen here, not from what the user
promised.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from rekindle.forkserver import sockets

#: Python threads that do no harm when they are missing in a forked child: each is started again
#: by its library when it is next needed.
HARMLESS_THREADS = frozenset(
    {
        "tqdm_monitor",  # tqdm checks is_alive() at each new bar
    }
)


@dataclass(frozen=True)
class Inspection:
    """What was found. Empty reason lists mean that the step is safe."""

    threads: list[str] = field(default_factory=list)  # besides the main one
    children: list[int] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    fork_unsafe: list[str] = field(default_factory=list)  # why it may not be forked
    dump_unsafe: list[str] = field(default_factory=list)  # why it cannot be frozen

    def to_dict(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self)


def inspect_self(own_fds: Collection[int]) -> Inspection:
    """Look at this process; ``own_fds`` are rekindle's, not the user's."""
    threads, strangers = _threads()
    children = _children()
    open_sockets, devices = _descriptors(own_fds)
    fork_unsafe = [f"thread {name} is alive" for name in strangers]
    fork_unsafe += [f"child process {pid} is alive" for pid in children]
    fork_unsafe += [f"open socket: {text}" for text in open_sockets]
    fork_unsafe += [f"open device: {text}" for text in devices]
    dump_unsafe = [
        f"open socket: {text}; open connections in @enter(snap=False) instead"
        for text in open_sockets
    ]
    dump_unsafe += [
        f"open device: {text}; use the GPU in @enter(snap=False) only" for text in devices
    ]
    return Inspection(threads, children, open_sockets, devices, fork_unsafe, dump_unsafe)


def _threads() -> tuple[list[str], list[str]]:
    """All threads but the main one, and those of them that are not known to be harmless."""
    python_names: dict[int, str] = {}
    threading = sys.modules.get("threading")
    if threading is not None:
        python_names = {t.native_id: t.name for t in threading.enumerate() if t.native_id}
    everyone, strangers = [], []
    for entry in sorted(os.listdir("/proc/self/task"), key=int):
        tid = int(entry)
        if tid == os.getpid():
            continue
        try:
            with open(f"/proc/self/task/{tid}/comm") as comm:
                native = comm.read().strip()
        except FileNotFoundError:
            continue  # ended while we looked
        name = python_names.get(tid, "")
        label = f"{name or native} ({'Python' if name else 'native'}, id {tid})"
        everyone.append(label)
        if name not in HARMLESS_THREADS:
            strangers.append(label)
    return everyone, strangers


def _children() -> list[int]:
    path = f"/proc/self/task/{os.getpid()}/children"
    try:
        with open(path) as children:
            return [int(pid) for pid in children.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def _descriptors(own_fds: Collection[int]) -> tuple[list[str], list[str]]:
    """Open internet sockets and GPU devices, each in words that name the descriptor."""
    found_sockets, devices = [], []
    addresses = None
    for entry in sorted(os.listdir("/proc/self/fd"), key=int):
        fd = int(entry)
        if fd in own_fds:
            continue
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # the listing's own descriptor
        if target.startswith(("/dev/nvidia", "/dev/dri")):
            devices.append(f"fd {fd} is {target}")
        elif target.startswith("socket:["):
            addresses = _internet_sockets() if addresses is None else addresses
            inode = target[len("socket:[") : -1]
            if inode in addresses:
                where = sockets.opened_at(fd)
                opened = f", opened at {where}" if where else ""
                found_sockets.append(f"fd {fd} is {addresses[inode]}{opened}")
    return found_sockets, devices


_TCP_STATES = {"01": "connected", "0A": "listening", "06": "closing", "08": "half-closed"}


def _internet_sockets() -> dict[str, str]:
    """Inode -> words, of the TCP and UDP sockets of this network namespace."""
    found = {}
    for name in ("tcp", "tcp6", "udp", "udp6"):
        try:
            with open(f"/proc/self/net/{name}") as table:
                lines = table.readlines()[1:]
        except FileNotFoundError:
            continue  # no IPv6 here
        for line in lines:
            fields = line.split()
            local, remote, state, inode = fields[1], fields[2], fields[3], fields[9]
            if inode == "0":
                continue
            protocol = name[:3].upper()
            words = (
                f"{_TCP_STATES.get(state, 'open')} {protocol} socket"
                if (protocol == "TCP")
                else f"{protocol} socket"
            )
            if state == "0A" or remote.endswith(":0000"):
                found[inode] = f"a {words} on {_address(local)}"
            else:
                found[inode] = f"a {words} to {_address(remote)}"
    return found


def _address(text: str) -> str:
    """``0100007F:1F90`` -> ``127.0.0.1:8080`` (the kernel prints words in machine order)."""
    import socket

    host, port = text.split(":")
    raw = b"".join(
        bytes.fromhex(host[i : i + 8])[::-1]
        if sys.byteorder == "little"
        else bytes.fromhex(host[i : i + 8])
        for i in range(0, len(host), 8)
    )
    if len(raw) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, raw)}:{int(port, 16)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, raw)}]:{int(port, 16)}"
