"""How one runner ends because somebody asked for it: at once, or when it has nothing to do.

No input is lost by it: what a runner has when it is ended at once goes back to the controller, and
what was sent to it directly is called again by its client.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from rekindle.background_tasks import BackgroundTasks
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: How often a runner that is to end is looked at.
_LOOK_S = 0.05
_REASON = "it was asked to stop"


@dataclass(eq=False)
class Stopping:
    """Ends runners."""

    _inventory: Inventory
    _leases: Leases
    _tasks: BackgroundTasks

    def order(self, order: pb.StopRunnerRequest) -> None:
        """End a runner; one that is not here any more has ended by itself."""
        for pool in self._inventory.pools.values():
            runner = pool.runners.get(order.runner_id)
            if runner is not None:
                log.info("runner asked to stop", extra=kv(runner=runner.id))
                if order.graceful:
                    self._tasks.spawn(self._when_idle(pool, runner))
                else:
                    self._now(pool, runner)
                return

    def _now(self, pool: Pool, runner: Runner) -> None:
        if runner.state is RunnerState.LENT:
            self._leases.end_runner(runner, _REASON)
        elif not pool.stop_runner(runner):
            pool.dispatcher.return_running(runner)
            runner.preempted = _REASON
            runner.kill(_REASON)

    async def _when_idle(self, pool: Pool, runner: Runner) -> None:
        pool.dispatcher.retire(runner, _REASON)
        while runner.state not in (RunnerState.STOPPING, RunnerState.GONE):
            self._leases.recalls.take_back_idle(runner)
            if pool.stop_runner(runner):
                return
            await asyncio.sleep(_LOOK_S)
