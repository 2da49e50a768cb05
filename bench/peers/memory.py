"""Memory of a system that runs: proportional set sizes, in which shared pages count in parts."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from peers.process import Peer
from rekindle.linux import maps

_MIB = 2**20
#: Two readings this near to each other, and it has settled.
_NEAR, _PAUSE_S, _PATIENCE_S = 0.01, 1.5, 20.0


def of(peer: Peer, *, itself: bool) -> tuple[float, float]:
    """MiB of the processes that hold PyTorch, and of all.

    ``itself``: the client's process counts too, where workers share what it holds.
    """
    deadline = time.monotonic() + _PATIENCE_S
    now = _read(peer, itself)
    while time.monotonic() < deadline:
        time.sleep(_PAUSE_S)  # that nothing happens any more gives no event
        before, now = now, _read(peer, itself)
        if abs(now[1] - before[1]) <= _NEAR * now[1]:
            break
    return now


def _read(peer: Peer, itself: bool) -> tuple[float, float]:
    processes = peer.below()
    if itself:
        processes.append(psutil.Process(peer.process.pid))
    holders = everything = 0.0
    for process in processes:
        try:
            size = maps.rollup(process.pid)["Pss"]
        except (OSError, KeyError):  # it has ended
            continue
        everything += size
        if _holds_torch(process.pid):
            holders += size
    return holders / _MIB, everything / _MIB


def _holds_torch(pid: int) -> bool:
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except (OSError, ProcessLookupError):
        return False
