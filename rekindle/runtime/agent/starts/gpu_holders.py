"""The holders of weights on this node's GPUs: one process a GPU, begun when a runner asks for it.

A runner gets a connection with its start; what it sends first wakes the holder of its GPU, which is
handed the other end, good for the weights of that revision alone. Holders end with this agent, and
when a GPU goes as a whole to a function whose weights are others. What runners of one GPU share by
``gpu_memory=`` stays as long as there is room. A holder that dies takes the runners along that use
its memory: their inputs run again. What is held, and for whom, the holder knows
(gpu_restore/holding).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rekindle.background_tasks import BackgroundTasks
from rekindle.gpu_restore.placement.devices import Device
from rekindle.runtime.agent.gpu_claims import Claim
from rekindle.runtime.isolation.sandbox import describe_exit
from rekindle.wire import gpu_environment
from rekindle.wire.frames import Header, HeaderStream, send_with_fds
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: After one that could not be started, none is on this GPU for so long.
NOT_AGAIN_S = 30.0


def device_argument() -> str:
    """Which of the devices that a holder sees is its own: it sees one."""
    return "0"


@dataclass(frozen=True)
class User:
    """A runner; ``on_lost`` is called where it has used a holder that dies."""

    runner_id: str
    revision: str
    #: Its function, as messages name it.
    function: str
    on_lost: Callable[[], None]


@dataclass(frozen=True)
class Weights:
    """Those of one revision; how many runners use them, and whether they are still on their way."""

    function: str
    size_bytes: int
    users: int
    is_loading: bool


@dataclass(frozen=True)
class Holding:
    """What one holder has said that it holds, of how much it may."""

    pid: int
    held_bytes: int
    budget_bytes: int
    weights: list[Weights]


@dataclass(eq=False)
class _Holder:
    process: asyncio.subprocess.Process
    control: socket.socket
    #: Functions, by the names of the revisions whose runners it was handed; of the runners that
    #: live, what to do where it dies.
    revisions: dict[str, str] = field(default_factory=dict)
    on_lost: dict[str, Callable[[], None]] = field(default_factory=dict)
    #: It was told to end.
    leaves: bool = False
    #: What it said last of what it holds.
    held: Header = field(default_factory=dict)
    _said: HeaderStream = field(default_factory=HeaderStream)

    def tell(self, order: Header, fds: tuple[int, ...] = ()) -> bool:
        """False where it is gone."""
        try:
            send_with_fds(self.control, order, fds)
        except OSError:
            return False
        return True

    def hear(self) -> bool:
        """What it says of what it holds; False where it says no more."""
        try:
            part = self.control.recv(1 << 16)
            for said in self._said.take(part):
                self.held = said
        except BlockingIOError:
            return True
        except (OSError, ValueError):
            return False
        return bool(part)

    def weights(self) -> Iterator[tuple[str, Header]]:
        """What it holds, by the function whose they are."""
        for entry in self.held.get("entries", ()):
            yield self.revisions.get(entry["key"].partition("/")[0], "?"), entry


@dataclass(eq=False)
class GpuHolders:
    """By the UUID of their device."""

    #: MiB that one may hold; None: half of its device; 0: there are none.
    held_mib: int | None = None
    _holders: dict[str, _Holder] = field(default_factory=dict)
    _starting: dict[str, asyncio.Lock] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)
    #: Our ends of connections that no runner has used yet.
    _unused: dict[int, socket.socket] = field(default_factory=dict)
    _tasks: BackgroundTasks = field(default_factory=BackgroundTasks)

    def connect(self, device: Device, user: User) -> int:
        """A runner's end of a connection to the holder of its GPU; the caller closes it. -1: there
        are no holders, or no descriptors.
        """
        if self.held_mib == 0:
            return -1
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            log.warning("no connection to a holder", extra=kv(reason=error))
            return -1
        self._unused[ours.fileno()] = ours
        asyncio.get_running_loop().add_reader(ours, self._used, ours, device, user)
        return theirs.detach()

    async def make_room(self, claim: Claim, revision: str) -> None:
        """Before a runner of this revision gets its GPUs: what others hold on those that it has as
        a whole is gone."""
        if gpu_environment.MEMORY_MIB in claim.given.env:
            return  # a share: what is held beside it counts as taken
        for device in claim.given.devices:
            holder = self._holders.get(device.uuid)
            if holder is not None and holder.revisions.keys() - {revision}:
                log.info("held weights make room", extra=kv(gpu=device.uuid))
                await self._end(holder)

    def holding(self, uuid: str) -> Holding | None:
        """What stays on this device; None where nothing was ever asked to."""
        holder = self._holders.get(uuid)
        if holder is None or not holder.held:
            return None
        weights = [
            Weights(function, entry["bytes"], entry["users"], entry["state"] != "held")
            for function, entry in holder.weights()
        ]
        held, budget = holder.held["held_bytes"], holder.held["budget_bytes"]
        return Holding(holder.process.pid, held, budget, weights)

    def forget(self, runner_id: str) -> None:
        """A runner has ended."""
        for holder in self._holders.values():
            holder.on_lost.pop(runner_id, None)

    def drop_unused(self) -> None:
        """Have all weights go that no runner uses: somebody waits for GPU memory."""
        for holder in self._holders.values():
            holder.tell({"op": "drop_unused"})

    async def close(self) -> None:
        """End all of them."""
        loop = asyncio.get_running_loop()
        for ours in self._unused.values():
            loop.remove_reader(ours)
            ours.close()
        self._unused.clear()
        await self._tasks.cancel()
        await asyncio.gather(*map(self._end, list(self._holders.values())))

    # ---- connections -----------------------------------------------------------------------

    def _used(self, ours: socket.socket, device: Device, user: User) -> None:
        asyncio.get_running_loop().remove_reader(ours)
        self._unused.pop(ours.fileno(), None)
        try:
            has_asked = bool(ours.recv(1, socket.MSG_PEEK))
        except OSError:
            has_asked = False
        if has_asked:
            self._tasks.spawn(self._hand_over(ours, device, user))
        else:
            ours.close()

    async def _hand_over(self, ours: socket.socket, device: Device, user: User) -> None:
        with contextlib.closing(ours):  # without a holder the runner reads the end
            holder = await self._holder_of(device)
            order = {"op": "client", "only": user.revision}
            if holder is not None and holder.tell(order, (ours.fileno(),)):
                holder.revisions[user.revision] = user.function
                holder.on_lost[user.runner_id] = user.on_lost

    # ---- processes -------------------------------------------------------------------------

    async def _holder_of(self, device: Device) -> _Holder | None:
        """The one that runs, or a new one; None where that cannot be."""
        async with self._starting.setdefault(device.uuid, asyncio.Lock()):
            holder = self._holders.get(device.uuid)
            if holder is not None and not holder.leaves:
                return holder
            if time.monotonic() < self._not_before.get(device.uuid, 0.0):
                return None
            try:
                return await self._start(device)
            except OSError as error:
                self._not_before[device.uuid] = time.monotonic() + NOT_AGAIN_S
                log.warning("no holder of weights", extra=kv(gpu=device.uuid, reason=error))
                return None

    async def _start(self, device: Device) -> _Holder:
        mib = device.memory_mib // 2 if self.held_mib is None else self.held_mib
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "rekindle.gpu_restore.holding"),
                *("--control-fd", str(theirs.fileno()), "--device", device_argument()),
                *("--budget-bytes", str(mib << 20)),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": device.uuid},
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)  # for small orders there is always room
        holder = self._holders[device.uuid] = _Holder(process, ours)
        asyncio.get_running_loop().add_reader(ours, self._hear, holder)
        self._tasks.spawn(self._watch(holder, device.uuid))
        return holder

    def _hear(self, holder: _Holder) -> None:
        if not holder.hear():  # its end is watched for elsewhere
            asyncio.get_running_loop().remove_reader(holder.control)

    def _close(self, holder: _Holder) -> None:
        if holder.control.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(holder.control)
            holder.control.close()

    async def _watch(self, holder: _Holder, uuid: str) -> None:
        status = await holder.process.wait()
        holder.hear()  # what it had said, and we have not read yet
        self._close(holder)
        if self._holders.get(uuid) is holder:
            del self._holders[uuid]
        if holder.leaves:
            return
        self._not_before[uuid] = time.monotonic() + NOT_AGAIN_S
        how = describe_exit(status)
        log.warning("a holder of weights died", extra=kv(gpu=uuid, how=how))
        if not holder.held:  # it never served: runners read the end of their connection, and copy
            return
        for on_lost in list(holder.on_lost.values()):
            on_lost()

    async def _end(self, holder: _Holder) -> None:
        """And wait: the GPU's memory is free then."""
        holder.leaves = True
        with contextlib.suppress(ProcessLookupError):
            holder.process.kill()
        await holder.process.wait()
        self._close(holder)
        self._holders = {uuid: one for uuid, one in self._holders.items() if one is not holder}
