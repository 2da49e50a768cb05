"""A stand-in for CUDA in a whole process, with the checkpoint calls made from another one.

What is on the device lies in areas of the process that are emptied while it is suspended; its open
device is a userfaultfd, which CRIU cannot dump. The state is the process's name, which every other
process can read, and which a restored copy has, too; the calls arrive as signals.

``python -m tests.gpu_restore.cuda_process`` is the process that makes the calls (checkpointing.py).
Its environment says where to log them, and which of them fails, or crashes.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rekindle.gpu_restore import checkpointing, cuda
from rekindle.gpu_restore.cuda import Driver
from rekindle.linux.libc import libc
from tests.gpu_restore.fake_cuda import ILLEGAL_STATE, FakeCuda

LOG, FAILS, VERSION = "CUDA_PROCESS_LOG", "CUDA_PROCESS_FAILS", "CUDA_PROCESS_VERSION"
_NAMES = ("cuda running", "cuda locked", "cuda away")
_SYS_USERFAULTFD = 323
#: Call -> (signal, state before, state after).
_CALLS = {
    "cuCheckpointProcessLock": (signal.SIGRTMIN + 5, 0, 1),
    "cuCheckpointProcessCheckpoint": (signal.SIGRTMIN + 6, 1, 2),
    "cuCheckpointProcessRestore": (signal.SIGRTMIN + 7, 2, 1),
    "cuCheckpointProcessUnlock": (signal.SIGRTMIN + 8, 1, 0),
}


def name_of(pid: int | str = "self") -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


class ProcessCuda(FakeCuda):
    """The CUDA of a process that can be suspended."""

    def __init__(self) -> None:
        super().__init__()
        self._away: dict[int, bytes] = {}
        self._open = -1

    def _cuInit(self, flags: int) -> int:
        given = [one for one in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if one]
        import uuid

        self.uuids = [uuid.UUID(one[len("GPU-") :]) for one in given]
        for number, (call, _before, after) in enumerate(_CALLS.values()):
            signal.signal(call, lambda _n, _f, number=number, after=after: self._move_to(after))
        if not self.initialised:
            self._come()
        return super()._cuInit(flags)

    def _move_to(self, state: int) -> None:
        if state == 2:
            for address, area in self.memory.items():
                self._away[address] = bytes(area)
                ctypes.memset(address, 0, len(area))
            os.close(self._open)
        elif self._away or name_of() == _NAMES[2]:
            for address, content in self._away.items():
                ctypes.memmove(address, content, len(content))
            self._away.clear()
            self._come()
        Path("/proc/self/comm").write_text(_NAMES[state])

    def _come(self) -> None:
        self._open = libc.syscall(_SYS_USERFAULTFD, os.O_CLOEXEC)
        assert self._open >= 0, "no userfaultfd"
        Path("/proc/self/comm").write_text(_NAMES[0])


def install() -> None:
    """In the process: CUDA is the stand-in from now on."""
    made = ProcessCuda()
    cuda.load = lambda: Driver(made)


class OthersCuda(FakeCuda):
    """The driver in the process that makes the calls."""

    def _cuCheckpointProcessGetState(self, pid: int, out: Any) -> int:
        out._obj.value = _NAMES.index(name_of(pid))
        return 0

    def _move_other(self, call: str, pid: int, **more: Any) -> int:
        number, before, after = _CALLS[call]
        with open(os.environ[LOG], "a") as log:
            log.write(json.dumps({"call": call, "pid": pid, **more}) + "\n")
        fails = os.environ.get(FAILS, "")
        if fails and Path(fails).exists() and (how := Path(fails).read_text()).startswith(call):
            if how.endswith("crash"):
                os.kill(os.getpid(), signal.SIGSEGV)
                time.sleep(60)
            return 999
        if name_of(pid) != _NAMES[before]:
            return ILLEGAL_STATE
        os.kill(pid, number)
        until = time.monotonic() + 30
        while name_of(pid) != _NAMES[after]:
            assert time.monotonic() < until, f"{pid} does not answer to {call}"
            time.sleep(0.001)
        return 0

    def _cuCheckpointProcessLock(self, pid: int, _arguments: Any) -> int:
        return self._move_other("cuCheckpointProcessLock", pid)

    def _cuCheckpointProcessCheckpoint(self, pid: int, _arguments: Any) -> int:
        return self._move_other("cuCheckpointProcessCheckpoint", pid)

    def _cuCheckpointProcessRestore(self, pid: int, arguments: Any) -> int:
        moved = None
        if arguments is not None:
            given = arguments._obj
            pairs = [given.pairs[number] for number in range(given.pair_count)]
            moved = [[bytes(one.old.bytes).hex(), bytes(one.new.bytes).hex()] for one in pairs]
        return self._move_other("cuCheckpointProcessRestore", pid, moved=moved)

    def _cuCheckpointProcessUnlock(self, pid: int, _arguments: Any) -> int:
        return self._move_other("cuCheckpointProcessUnlock", pid)


if __name__ == "__main__":
    others = OthersCuda(version=int(os.environ.get(VERSION, "13000")))
    cuda.load = lambda: Driver(others)
    sys.exit(checkpointing.main())
