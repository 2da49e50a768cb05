"""The GPUs of this node: the one place that knows which runner has which.

A pool's start is given devices before it begins (pool_gpus.py), a runner takes them over when it
becomes one (``hand_over``), and they are free again when its process has ended, however it
ended: that is seen by its pidfd, not by what anybody says. Nothing is kept on disk: the runners of
an agent die with it. What goes where is gpu_restore/placement's to say; who makes room, the
scheduler's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Collection

from rekindle.counted import counted
from rekindle.exception import GpuUnavailableError
from rekindle.gpu_restore.checkpoint import MOVES_CUDA
from rekindle.gpu_restore.device_files import to_hide
from rekindle.gpu_restore.driver import RECORDING
from rekindle.gpu_restore.inventory import Inventory, allowed
from rekindle.gpu_restore.placement.devices import Device, Fleet, Holding, node_of
from rekindle.gpu_restore.placement.line import Line
from rekindle.gpu_restore.placement.options import Option, options
from rekindle.gpu_restore.placement.packing import BestFit, choose
from rekindle.gpu_restore.placement.preemption import Preemption, preempt
from rekindle.runtime.agent.gpu_claims import Asking, Given
from rekindle.runtime.agent.gpu_lending import LENT_PRIORITY, Lending, Loan
from rekindle.wire import gpu_environment
from rekindle.wire.gpus import GpuRequest, in_words
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)
#: A start that nobody has reserved for looks so often for who may make room, in seconds.
LOOK_AGAIN_S = 0.5


class Gpus:
    """See the module."""

    def __init__(self, found: Inventory) -> None:
        #: All that the machine has; what may be handed out.
        self.found = found
        self.allowed = allowed(found)
        self.fleet = Fleet([node_of(self.allowed)])
        self.line = Line()
        self.packing = BestFit()
        #: Runners that had to make room for a higher priority, ever.
        self.preemptions = 0
        #: Told when devices have become free.
        self.on_free: Callable[[], None] = lambda: None
        #: Told that a start waits which the scheduler does not know of: it may make room.
        self.on_wanted: Callable[[Asking], None] = lambda _pool: None
        #: Told when a start has to wait for memory that no runner has.
        self.on_short: Callable[[], None] = lambda: None
        self._taken: set[str] = set()
        #: What work in the background has.
        self.lending = Lending()
        #: Of those, held until a process has ended.
        self._ending: set[str] = set()
        self._freed = asyncio.Event()
        self._numbers = itertools.count(1)
        #: For a runner without a GPU.
        self.nothing = self._given(()) if found.gpus else Given()

    @property
    def hides(self) -> bool:
        """Whether there are device files to hide from runners."""
        return bool(self.found.gpus)

    def holding(self, owner: str) -> Holding | None:
        """What a runner has."""
        return self.fleet.holdings.get(owner)

    def have_lost(self, lost: frozenset[str]) -> None:
        """Devices that are not there any more: nothing is started on them until they are again."""
        if lost == self.fleet.lost:
            return
        for device in self.fleet.devices():
            if device.uuid in lost ^ self.fleet.lost:
                event = "a GPU is lost" if device.uuid in lost else "a GPU is there again"
                log.warning(event, extra=kv(gpu=device.uuid, number=device.index))
        self.fleet.lost = lost
        self.on_free()  # what waits finds another one, or that there is none

    def why_less(self) -> str:
        """Why nothing is handed out, or less than the driver counts; "" where all is."""
        numbers = {one.index for one in self.fleet.devices() if one.uuid in self.fleet.lost}
        gone = [f"GPU {number} cannot be asked any more" for number in sorted(numbers)]
        return "; ".join(
            [self.allowed.reason] if self.allowed.reason else [*self.found.lost, *gone]
        )

    def runners(self) -> list[str]:
        """Ids of those that have devices and are started."""
        return [owner for owner in self.fleet.holdings if owner in self._taken]

    def runners_but(self, others: Collection[str]) -> set[str]:
        """Ids of the others that have devices and are started."""
        return set(self.runners()) - set(others)

    # ---- for a pool's starts ----------------------------------------------------------------

    def reserve(self, pool: Asking, *, ahead: bool = False) -> str | None:
        """Take devices for a start; the name that they are held under, None where it must wait.

        ``ahead``: no input waits for it. It gets none that anybody waits for: where an idle runner
        of several made room, the next of its kind would take the place again and again.
        """
        now = time.monotonic()
        if pool.key not in self.line:
            self.packing.saw(pool.wanted[0])
        barred = self.line.barred(self.fleet, pool.key, pool.priority, now)
        awaited = self.line.could_use(self.fleet, pool.key) if ahead else frozenset[str]()
        option = choose(self.fleet, pool.wanted, self.packing, barred | awaited)
        if option is None and awaited:
            return None
        if option is None:
            self.line.add(pool.key, pool.wanted, pool.priority, now)
            if self._waits_for_strangers(pool):
                self.on_short()
            self.lending.take_back(self.fleet, pool.wanted, pool.priority, self.packing)
            return None
        self.line.remove(pool.key)
        owner = f"start {next(self._numbers)}"
        self._hold(owner, option.devices, option.memory_mib, pool.priority)
        return owner

    def _waits_for_strangers(self, pool: Asking) -> bool:
        """Whether a share would fit, but for memory of processes that are no runners."""
        shares = [one for one in pool.wanted if one.memory_mib]
        alone = self.fleet.without(())
        alone.foreign = {}
        return any(self.fleet.foreign.values()) and bool(options(alone, shares))

    async def reserve_or_wait(self, pool: Asking, timeout_s: float) -> str:
        """Take devices for a start, and wait for them where there are none.

        Raises GpuUnavailableError after ``timeout_s``.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while (owner := self.reserve(pool)) is None:
                    self.on_wanted(pool)
                    self._freed.clear()
                    with contextlib.suppress(TimeoutError):  # who was busy may be idle now
                        await asyncio.wait_for(self._freed.wait(), LOOK_AGAIN_S)
                return owner
        except TimeoutError as error:
            raise GpuUnavailableError(
                f"gpu={in_words(pool.wanted)}: none became free within {timeout_s:g} s"
            ) from error
        finally:
            self.line.remove(pool.key)

    def given(self, owner: str) -> Given:
        """What a runner gets of what is held under this name.

        Raises GpuUnavailableError, and lets go of it, where it cannot be told what is to be hidden.
        """
        holding = self.fleet.holdings[owner]
        try:
            return self._given(holding.devices, holding.memory_mib)
        except OSError as error:
            self.let_go(owner)
            why = f"which device files are those of other GPUs cannot be told just now: {error}"
            log.warning("GPUs not given", extra=kv(reason=why))
            raise GpuUnavailableError(why) from error

    def hand_over(self, owner: str, runner_id: str, pid: int) -> None:
        """Devices that were reserved are a runner's until its process has ended.

        Raises OSError where that cannot be watched for: they are held as before then.
        """
        pidfd = os.pidfd_open(pid)
        self.fleet.hand_over(owner, runner_id, time.monotonic())
        self.lending.gone(owner)
        self._taken.add(runner_id)
        self._release_at_end(runner_id, pidfd)

    def expected(self, wanted: tuple[GpuRequest, ...]) -> dict[str, str]:
        """For a template: what it says of the GPUs that its runners will have, without one."""
        uuids = [gpu.uuid for gpu in self.allowed.gpus][: wanted[0].count] if wanted else []
        listed = ",".join(uuids)
        return {gpu_environment.EXPECTED: listed, "CUDA_VISIBLE_DEVICES": listed} if uuids else {}

    def in_snapshots(self, wanted: tuple[GpuRequest, ...]) -> str:
        """What a GPU snapshot depends on, besides the model that it was made on."""
        return f"driver {self.found.driver}, gpu={in_words(wanted)}, of {self._all_in_words()}"

    def _all_in_words(self) -> str:
        """The GPUs of this machine, as far as a GPU snapshot of others is of no use: the driver
        moves a process between as many GPUs as there were, or not at all."""
        if self.found.cuda_version >= MOVES_CUDA:
            return counted(len(self.found.gpus), "GPU")
        return " ".join(gpu.uuid for gpu in self.found.gpus)

    def lend(self, pool: Asking, loan: Loan) -> str | None:
        """Devices for work in the background, where some are free and nobody waits for any.

        The loan's holder is told when a start needs them: then they are to be free soon.
        """
        option = self.spare_devices(pool)
        if option is None:
            return None
        owner = f"lent {next(self._numbers)}"
        self._hold(owner, option.devices, option.memory_mib, LENT_PRIORITY)
        self.lending.add(owner, loan)
        return owner

    def spare_devices(self, pool: Asking) -> Option | None:
        """Such devices, where there are some now."""
        return None if len(self.line) else choose(self.fleet, pool.wanted, self.packing)

    def lent_until_end(self, owner: str, pid: int) -> None:
        """They are free again when this process has ended. Raises OSError."""
        self._release_at_end(owner, os.pidfd_open(pid))
        self._ending.add(owner)

    def end_loan(self, owner: str) -> None:
        """Nobody has to be told any more; free at once, or when the process that has them ends."""
        if owner in self._ending:
            self.lending.gone(owner)
        else:
            self.release(owner)

    def let_go(self, owner: str) -> None:
        """A start does not need them: free at once, or when the spare that has them has ended."""
        if not self.lending.let_go(owner):
            self.release(owner)

    def release(self, owner: str) -> None:
        """Devices are free again."""
        self._taken.discard(owner)
        self._ending.discard(owner)
        self.lending.gone(owner)
        if self.fleet.release(owner) is not None:
            self._freed.set()
            self.on_free()

    def room_for(
        self,
        pool: Asking,
        is_idle: Callable[[Holding], bool],
        may_go: Callable[[Holding], bool],
    ) -> Preemption | None:
        """Whose devices a waiting pool may have; None where nobody's."""
        return preempt(self.fleet, pool.wanted, pool.priority, self.packing, is_idle, may_go)

    def fits_without(self, pool: Asking, owners: Collection[str]) -> bool:
        """Whether a waiting pool is served once these owners are gone."""
        return bool(options(self.fleet.without(owners), pool.wanted))

    def _hold(
        self, owner: str, devices: tuple[Device, ...], memory_mib: int, priority: int
    ) -> None:
        self.fleet.take(
            Holding(
                owner=owner,
                devices=devices,
                memory_mib=memory_mib,
                priority=priority,
                since=time.monotonic(),
            )
        )

    def _given(self, devices: tuple[Device, ...], memory_mib: int = 0) -> Given:
        uuids = [device.uuid for device in devices]
        env = {"CUDA_VISIBLE_DEVICES": ",".join(uuids)}
        if uuids and RECORDING not in os.environ:  # no recorded GPU can be brought up
            env[gpu_environment.GPUS] = ",".join(uuids)
        if memory_mib:
            env[gpu_environment.MEMORY_MIB] = str(memory_mib)
        return Given(devices, env, to_hide(self.found, uuids))

    def _release_at_end(self, runner_id: str, pidfd: int) -> None:
        """Not when its agent gives it up: until the driver has closed its files it has memory."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            log.debug("GPUs released", extra=kv(runner=runner_id))
            self.release(runner_id)

        loop.add_reader(pidfd, ended)
