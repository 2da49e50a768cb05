"""Making sure that a strategy can be taken, for those who ask for one by name (bench, tests)."""

from __future__ import annotations

import asyncio

from rekindle.exception import StrategyUnavailableError
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.starts.freezing import freeze
from rekindle.wire.phases import Strategy, now_ns


async def prepare(pool: Pool, strategy: Strategy, timeout_s: float) -> None:
    """Have what ``strategy`` needs: an idle runner, a snapshot, a live template.

    Raises Error, UserCodeFailed or TimeoutError.
    """
    async with asyncio.timeout(timeout_s):
        if strategy is Strategy.WARM:
            await _ensure_idle(pool)
        elif strategy is Strategy.RESTORE:
            await _ensure_snapshot(pool)
        elif strategy is Strategy.FORK:
            await _ensure_template(pool)


async def _ensure_idle(pool: Pool) -> None:
    if pool.idle_runner() is None and await pool.host.leases.borrow_back(pool) is None:
        pool.welcome(await pool.starter.start(None, now_ns()))


async def _ensure_snapshot(pool: Pool) -> None:
    revision, starter = pool.revision, pool.starter
    if not revision.snapshots_enabled:
        raise StrategyUnavailableError(f"restore: {starter.why_no_restore()}")
    await revision.tracker.look()
    if revision.background:
        await asyncio.gather(*revision.background, return_exceptions=True)
    if revision.tracker.snapshot is None:
        revision.tracker.not_before = 0.0
        await freeze(starter.context, revision, starter.say)
    if revision.tracker.snapshot is None:
        raise StrategyUnavailableError(f"restore: {starter.why_no_restore()}")


async def _ensure_template(pool: Pool) -> None:
    revision, starter = pool.revision, pool.starter
    if not revision.snapshots_enabled or revision.fork_unsafe:
        raise StrategyUnavailableError(f"fork: {starter.why_no_fork()}")
    await revision.tracker.look()
    if revision.has_best_template():
        return
    if revision.tracker.snapshot is not None:
        await starter.restore_template()
    else:
        await starter.boot_template()
