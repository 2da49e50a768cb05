"""Strategies that are asked for by name (bench, tests): exactly that one, or an error."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from rekindle.exception import Error, StrategyUnavailableError
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.assignment import Assignment
from rekindle.runtime.agent.inputs.outcome import UserCodeFailed
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.leases.measuring import measure
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import RunnerState
from rekindle.runtime.agent.starts import gpu_freezing
from rekindle.runtime.agent.starts.freezing import freeze
from rekindle.runtime.agent.starts.revision_image import ensure_image
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotTracker
from rekindle.wire.phases import Strategy, now_ns


async def run(pool: Pool, leases: Leases, one: Assignment, strategy: Strategy) -> None:
    """Run an input by this strategy."""
    if pool.closed:
        pool.submit([one])  # it is cancelled
        return
    try:
        runner = await leases.runner_by(pool, strategy)
    except (Error, UserCodeFailed) as error:
        if pool.closed:
            pool.submit([one])
            return
        pool.results.one(one, outcome.start_failed(one, error))
        return
    await pool.dispatcher.run_alone(runner, one)
    await measure(pool, runner)
    if runner.private and runner.state is RunnerState.IDLE:
        await pool.stop(runner)


async def prepare(
    pool: Pool,
    leases: Leases,
    place: AbstractAsyncContextManager[bool],
    strategy: Strategy,
    timeout_s: float,
) -> None:
    """Have what ``strategy`` needs: an idle runner, a snapshot, a live template, free GPUs.

    A start that is timed then has none of that in it, nor the end of the runner before it, which
    keeps its GPUs until its process is gone.

    ``place``: that of a runner (trials.py). Raises Error, UserCodeFailed or TimeoutError.
    """
    async with asyncio.timeout(timeout_s):
        await pool.starts.unscheduled.run(_ensure(pool, leases, place, strategy))


async def _ensure(
    pool: Pool, leases: Leases, place: AbstractAsyncContextManager[bool], strategy: Strategy
) -> None:
    if strategy is Strategy.WARM:
        await _ensure_idle(pool, leases, place)
    elif strategy is Strategy.COLD:
        await _ensure_devices(pool)
    elif strategy is Strategy.RESTORE:
        await _ensure_snapshot(pool)
        await _ensure_devices(pool)
    elif strategy is Strategy.FORK:
        await _ensure_template(pool)
        await _ensure_devices(pool)
    elif strategy is Strategy.SPARE:
        await _ensure_template(pool)
        await _ensure_spare(pool)


async def _ensure_devices(pool: Pool) -> None:
    """Not for a spare: one that has its context holds a GPU, and would give way."""
    await pool.starter.gpus.until_free(pool.revision.spec.startup_timeout_s)


def end_tried(pool: Pool, *, kept: bool) -> None:
    """Stop the runner that ``prepare`` has started; ``kept``: unless the pool's plan keeps it."""
    runner, least = pool.runners.last_used(), pool.sizing.plan.runners if kept else 0
    if runner is not None and len(pool.runners) > least:
        pool.stop_runner(runner)


async def _ensure_idle(
    pool: Pool, leases: Leases, place: AbstractAsyncContextManager[bool]
) -> None:
    if leases.recalls.has_idle(pool):
        return
    async with place as is_free:
        if is_free:
            pool.starts.welcome(await pool.starter.start(None, now_ns()))


async def _ensure_snapshot(pool: Pool) -> None:
    revision, starter = pool.revision, pool.starter
    if not revision.snapshots_enabled:
        raise StrategyUnavailableError(f"restore: {revision.why_no_restore()}")
    await ensure_image(starter.context, revision, starter.say)
    await revision.tracker.look()
    while revision.background:
        await asyncio.wait(revision.background)
    if revision.tracker.snapshot is None:
        revision.tracker.not_before = 0.0
        # What is begun is made, also when the app closes.
        work = freeze(starter.context, revision, starter.say)
        await asyncio.wait([revision.in_background(work)])
    if revision.tracker.snapshot is None:
        raise StrategyUnavailableError(f"restore: {revision.why_no_restore()}")
    if revision.gpu_tracker is not None:
        await _ensure_gpu_snapshot(pool, revision.gpu_tracker)


async def _ensure_gpu_snapshot(pool: Pool, tracker: SnapshotTracker) -> None:
    """Where one can be made; runners are restored without it otherwise, and say why."""
    starter = pool.starter
    await tracker.look()
    if tracker.snapshot is None:
        tracker.not_before = 0.0
        await _ensure_devices(pool)
        await gpu_freezing.freeze(
            *(starter.context, pool.revision, starter.gpus, starter.say, starter.on_loading_line)
        )


async def _ensure_template(pool: Pool) -> None:
    revision, starter = pool.revision, pool.starter
    if not revision.snapshots_enabled or revision.fork_unsafe:
        raise StrategyUnavailableError(f"fork: {revision.why_no_fork()}")
    await ensure_image(starter.context, revision, starter.say)
    await revision.tracker.look()
    if revision.has_best_template():
        return
    if revision.tracker.snapshot is not None:
        await starter.restore_template()
    else:
        await starter.boot_template()


async def _ensure_spare(pool: Pool) -> None:
    """One that waits, whatever the plan says; the next ones are the plan's."""
    template = pool.revision.live_template()
    if template is None:
        raise StrategyUnavailableError(f"spare: {pool.revision.why_no_spare()}")
    if not await template.spares.have_one():
        raise StrategyUnavailableError(f"spare: {pool.revision.why_no_spare()}")
