"""Memory of a system that runs: proportional set sizes, in which shared pages count in parts."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from peers.process import Peer

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
        size = _pss(process.pid)
        everything += size
        if size and _holds_torch(process.pid):
            holders += size
    return holders / _MIB, everything / _MIB


def _pss(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ProcessLookupError):  # it has ended
        return 0.0
    return 0.0


def _holds_torch(pid: int) -> bool:
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except (OSError, ProcessLookupError):
        return False
