"""What each runner uses of its GPUs, measured now and then by NVML, off the way of every call.

A process on a GPU is a runner's if it lives in that runner's PID namespace: what a runner starts
counts as its own. Decides nothing, but for memory of strangers, which is not given away in shares.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rekindle.gpu_restore.driver import open_nvml
from rekindle.gpu_restore.inventory import inventory
from rekindle.gpu_restore.usage import DeviceUse, Usage, Watch
from rekindle.runtime.agent.gpus import Gpus
from rekindle.wire import functionid
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Between two looks, seconds.
PERIOD_S = 2.0
#: After a look that failed: a driver that is reset or updated may come back.
_AGAIN_S = 30.0
#: At an agent's start, where the machine has no memory or descriptor left to look.
_TRIES, _TRY_AGAIN_S = 5, 1.0
#: A device that was not among what is there so often in a row is lost.
_LOST_AFTER = 3


@dataclass(frozen=True)
class RunnerUse:
    """Of all its devices together."""

    used_bytes: int = 0
    busy_percent: int | None = None


@dataclass
class GpuUse:
    """What was measured last."""

    gpus: Gpus
    devices: dict[str, DeviceUse] = field(default_factory=dict)
    runners: dict[str, RunnerUse] = field(default_factory=dict)
    #: Function id -> the most that one of its runners was seen to use, bytes.
    most: dict[str, int] = field(default_factory=dict)
    _watch: Watch | None = None
    _over: set[str] = field(default_factory=set)
    #: UUID -> looks in a row without it.
    _missed: dict[str, int] = field(default_factory=dict)

    async def measure(self, runners: Mapping[str, tuple[int, str]]) -> float:
        """Look once; ``runners``: id -> process id and function id. Returns the pause, seconds."""
        try:
            usage = await asyncio.to_thread(self._look)
        except Exception as error:  # noqa: BLE001 - NVMLError is known at run time alone
            log.warning("GPUs not looked at", extra=kv(reason=error))
            self._watch = None
            self.devices, self.runners = {}, {}
            return _AGAIN_S
        self._take_in(usage, runners)
        if not usage.devices:
            self.close()  # opened again, it may see them
        return PERIOD_S

    def forget(self, app_id: str) -> None:
        """An app is closed."""
        for function_id in [one for one in self.most if functionid.is_of_app(one, app_id)]:
            del self.most[function_id]

    def close(self) -> None:
        """Let go of the driver."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _look(self) -> Usage:
        if self._watch is None:
            self._watch = Watch(open_nvml())
        return self._watch.look()

    def _take_in(self, usage: Usage, runners: Mapping[str, tuple[int, str]]) -> None:
        owners = _by_namespace((name, pid) for name, (pid, _) in runners.items())
        pids = {pid: name for name, (pid, _) in runners.items()}
        found: dict[str, RunnerUse] = {}
        foreign: dict[str, int] = {}
        for one in usage.processes:
            name = pids.get(one.pid) or owners.get(_pid_namespace(one.pid))
            if name is None:
                foreign[one.device] = foreign.get(one.device, 0) + one.used_bytes
                continue
            before = found.get(name, RunnerUse())
            known = [p for p in (before.busy_percent, one.busy_percent) if p is not None]
            found[name] = RunnerUse(
                before.used_bytes + one.used_bytes, sum(known) if known else None
            )
        self.devices, self.runners = usage.devices, found
        self._over &= runners.keys()
        self._miss(usage)
        self.gpus.fleet.foreign = {uuid: size >> 20 for uuid, size in foreign.items()}
        for name, use in found.items():
            function_id = runners[name][1]
            self.most[function_id] = max(self.most.get(function_id, 0), use.used_bytes)
            self._warn_of_share(name, use)

    def _miss(self, usage: Usage) -> None:
        self._missed = {
            one.uuid: self._missed.get(one.uuid, 0) + 1
            for one in self.gpus.fleet.devices()
            if one.uuid not in usage.devices
        }
        lost = (uuid for uuid, looks in self._missed.items() if looks >= _LOST_AFTER)
        self.gpus.have_lost(frozenset(lost))

    def _warn_of_share(self, runner_id: str, use: RunnerUse) -> None:
        """A share is accounted, not enforced: whoever takes more is named, once."""
        holding = self.gpus.holding(runner_id)
        if holding is None or not holding.memory_mib or runner_id in self._over:
            return
        if use.used_bytes >> 20 > holding.memory_mib:
            self._over.add(runner_id)
            log.warning(
                "over its share of a GPU",
                extra=kv(
                    runner=runner_id,
                    used_mib=use.used_bytes >> 20,
                    gpu_memory=holding.memory_mib,
                ),
            )


def _by_namespace(runners: Iterable[tuple[str, int]]) -> dict[int | None, str]:
    found: dict[int | None, str] = {_pid_namespace(pid): name for name, pid in runners}
    for unknown in (None, _pid_namespace(os.getpid())):
        found.pop(unknown, None)
    return found


def _pid_namespace(pid: int) -> int | None:
    """What tells it from others; None where the process is gone, or not ours to look at."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None


async def find() -> Gpus:
    """The GPUs of this machine; opening the driver can take a second where nothing keeps it up."""
    found = await asyncio.to_thread(inventory)
    for _ in range(_TRIES):  # it is asked for once, and remembered
        if not found.passes:
            break
        log.warning("GPUs not looked for", extra=kv(reason=found.reason))
        await asyncio.sleep(_TRY_AGAIN_S)
        found = await asyncio.to_thread(inventory)
    return Gpus(found)
