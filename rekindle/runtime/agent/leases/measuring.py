"""What memory a runner holds after a call that asked for its strategy."""

from __future__ import annotations

import asyncio

from rekindle.linux.maps import share_of
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import Runner, RunnerState


async def measure(pool: Pool, runner: Runner) -> None:
    """Keep a runner's share of memory, after a call that asked for a strategy; takes ms."""
    if runner.state is RunnerState.IDLE:
        share = await asyncio.to_thread(share_of, runner.channel.pid)
        pool.history.measured_pss[runner.id] = share.pss if share is not None else 0
