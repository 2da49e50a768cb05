"""Who makes room on this node's GPUs: idle runners, then runners of a lower priority.

A runner that has to make room gets no more inputs. What it runs has its time of grace to end; then
it is interrupted (InputCancellation), and goes back to the controller, uncounted. Its exit hooks
run, within their own time, and when its process has ended its devices are free.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from functools import partial

from rekindle.exception import GpuUnavailableError
from rekindle.gpu_restore.placement.devices import Holding
from rekindle.runtime.agent.gpu_claims import Asking
from rekindle.runtime.agent.gpus import Gpus
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import READY, Runner, RunnerState
from rekindle.wire.gpus import in_words
from rekindle.wire.logs import kv

#: Waits begin and end all the time.
_STUCK_S = 2.0

log = logging.getLogger(__name__)


@dataclass
class _Leaving:
    """A runner that makes room."""

    pool: Pool
    runner: Runner
    until: float  # when its grace ends, monotonic seconds
    reason: str


@dataclass(eq=False)
class GpuRoom:
    """See the module."""

    _inventory: Inventory
    _leases: Leases
    _gpus: Gpus
    _grace_s: float
    _leaving: dict[str, _Leaving] = field(default_factory=dict)
    #: Pool -> since when its GPUs are held by those that wait for it.
    _stuck: dict[str, float] = field(default_factory=dict)

    def has_room(self, pool: Pool, *, ahead: bool) -> bool:
        """Whether there are devices for one more runner, which are reserved then.

        Where not, others make room, but for a runner that no input waits for (``ahead``). The pool
        is looked at again when devices become free, and now and then.
        """
        if pool.gpus.reserve(ahead=ahead):
            return True
        if ahead:
            pool.gpus.leave()
        else:
            self.make_room(pool.gpus, must=not pool.runners.size())
            self._end_a_circle(pool)
        return False

    def make_room(self, gpus: Asking, *, must: bool) -> None:
        """Have others go. An idle runner is spared for as long as its next start would take,
        unless the pool has no runner at all (``must``); what a plan keeps goes last."""
        found = self._who()
        if self._gpus.fits_without(gpus, self._on_their_way()):
            return  # it has to wait for who is on the way out, and for no one else
        now = time.monotonic()

        def idle(holding: Holding, *, kept: bool) -> bool:
            pool, runner = found[holding.owner]
            if not kept and pool.keeps_all:
                return False
            if runner.state is RunnerState.LENT:
                return not runner.page.began_ns
            idle_s = now - runner.idle_since
            return runner.state is RunnerState.IDLE and (
                must or idle_s >= pool.dispatcher.pace.start_s
            )

        for kept in (False, True):
            preemption = self._gpus.room_for(
                gpus,
                partial(idle, kept=kept),
                lambda one: one.owner in found,
            )
            if preemption is not None:
                for victim in preemption.victims:
                    if victim.owner not in self._leaving:  # one may have gone with another
                        is_idle = idle(victim, kept=True)
                        self._send_away(gpus, *found[victim.owner], is_idle=is_idle)
                return

    def _end_a_circle(self, pool: Pool) -> None:
        """Calls made inside of others never get the GPUs that their callers hold: the next one is
        an error, once that was so for a while."""
        waiting = {
            runner.id
            for one in self._inventory.pools.values()
            for runner in one.runners.values()
            if 0 <= runner.waits_at < pool.depth()
        }
        stuck = waiting and self._gpus.fits_without(pool.gpus, waiting | self._on_their_way())
        if not stuck or self._gpus.fits_without(pool.gpus, self._gpus.runners_but(waiting)):
            self._stuck.pop(pool.gpus.key, None)
            return
        now = time.monotonic()
        if now - self._stuck.setdefault(pool.gpus.key, now) < _STUCK_S:
            return
        del self._stuck[pool.gpus.key]
        pool.starts.fail_next(
            GpuUnavailableError(
                f"gpu={in_words(pool.gpus.wanted)}: all that would do are held by runners that "
                "wait for this very call, or for one like it; give the two functions different "
                "GPUs or shares (gpu_memory=), or call without waiting (.spawn)"
            )
        )

    def _who(self) -> dict[str, tuple[Pool, Runner]]:
        """Runners that hold devices and could go."""
        return {
            runner.id: (pool, runner)
            for pool in self._inventory.pools.values()
            for runner in pool.runners.values()
            if runner.id not in self._leaving
            and runner.state in READY
            and not runner.dying
            and self._gpus.holding(runner.id) is not None
        }

    def _on_their_way(self) -> set[str]:
        """Holders that end already: named here, or no runner of a pool any more. What is reserved
        for a start is none of them."""
        there = {
            runner.id: runner
            for pool in self._inventory.pools.values()
            for runner in pool.runners.values()
        }
        return {
            one
            for one in self._gpus.runners()
            if one in self._leaving or one not in there or there[one].dying
        } | self._gpus.lending.leaving

    def _send_away(self, gpus: Asking, pool: Pool, runner: Runner, *, is_idle: bool) -> None:
        if runner.state is RunnerState.IDLE and pool.stop_runner(runner):
            return
        reason = f"its GPU goes to a function of a higher priority ({in_words(gpus.wanted)})"
        if is_idle:
            reason = f"another function waits for its GPU ({in_words(gpus.wanted)})"
        else:
            self._gpus.preemptions += 1
        log.info("makes room", extra=kv(runner=runner.id, function=pool.revision.label, why=reason))
        self._leaving[runner.id] = _Leaving(
            pool, runner, time.monotonic() + self._grace_s, f"runner {runner.id}: {reason}"
        )
        pool.dispatcher.retire(runner, self._leaving[runner.id].reason)
        if runner.state is RunnerState.LENT:
            self._leases.recalls.take_back(runner)
        self.look()

    def look(self) -> None:
        """Send on those that have ended what they ran, or whose grace is over."""
        now = time.monotonic()
        for name, one in list(self._leaving.items()):
            runner = one.runner
            if runner.state is RunnerState.IDLE:
                one.pool.stop_runner(runner)
            elif runner.state is RunnerState.BUSY and now >= one.until:
                one.pool.dispatcher.interrupt(runner)
            elif runner.state is RunnerState.LENT and now >= one.until:
                self._leases.end_runner(runner, one.reason)
            if runner.state in (RunnerState.STOPPING, RunnerState.GONE):
                del self._leaving[name]

    def waiting(self) -> list[Pool]:
        """Pools that wait for devices, whose turn is first at the front."""
        by_key = {pool.gpus.key: pool for pool in self._inventory.pools.values()}
        order = (by_key.get(one.key) for one in self._gpus.line.in_order())
        return [pool for pool in order if pool is not None]
