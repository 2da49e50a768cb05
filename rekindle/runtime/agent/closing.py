"""How pools end when their app is closed, or their agent ends.

Where an app is closed, what runs is interrupted and has a grace: it cleans up, what it prints then
is shown, and the exit hooks of its runner run. An agent that ends kills what runs: that and what
waits goes back to the controller (``Results.leaving``), and runs again elsewhere or later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from rekindle.runtime.agent.leases.lease_monitor import CANCEL_GRACE_S
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.pools.runner_monitor import LOOK_S
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: A snapshot that is being written when its app closes is given this long.
FREEZE_GRACE_S = 120.0
#: Where the agent ends, all of it has its time. The last of it is for what comes after snapshots:
#: results are confirmed, files of volumes sent, mounts and directories removed.
LAST_STEPS_S = 15.0
_CLOSED = "its app was closed"


async def close_pool(leases: Leases, pool: Pool, *, interrupt: bool = False) -> None:
    """Fail what waits, end what runs, let exit hooks run in idle runners; wait for all of it."""
    pool.shut()
    # A program may end right after its first call, before anyone has looked: its snapshot is due.
    leases.count_calls(pool)
    pool.take_in_events()
    pool.freeze_when_due(asking=0)
    await asyncio.gather(
        leases.close_pool(pool, interrupt=interrupt), _end_inputs(pool, interrupt=interrupt)
    )
    await pool.end_runners()


async def _end_inputs(pool: Pool, *, interrupt: bool) -> None:
    """What came through the controller."""
    busy = [one for one in pool.runners.values() if one.state is RunnerState.BUSY]
    if interrupt:
        for runner in busy:
            pool.dispatcher.end_inputs(runner)
        await asyncio.gather(*map(_ends, busy))
    for runner in busy:
        if runner.state is RunnerState.BUSY:
            runner.kill(_CLOSED)


async def _ends(runner: Runner) -> None:
    """Return when it has nothing to run, or has had its grace."""
    loop = asyncio.get_running_loop()
    until = loop.time() + CANCEL_GRACE_S
    while runner.state is RunnerState.BUSY and loop.time() < until:
        await asyncio.sleep(LOOK_S)


async def finish_snapshots(revisions: Iterable[Revision], timeout_s: float) -> None:
    """Let snapshots that are being written be written: the next run is quick for it."""
    written = {task: revision for revision in revisions for task in revision.background}
    if not written:
        return
    _done, left = await asyncio.wait(written, timeout=timeout_s)
    for task in left:
        log.warning("snapshot not waited for", extra=kv(function=written[task].label))
