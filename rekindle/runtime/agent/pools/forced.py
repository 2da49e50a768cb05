"""Inputs that ask for a strategy by name (bench, tests): exactly that, or an error."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rekindle.exception import Error, InternalFailure, StrategyUnavailableError
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.assignment import Assignment
from rekindle.runtime.agent.runners.runner import Runner, RunnerState, UserCodeFailed
from rekindle.wire.logs import kv
from rekindle.wire.phases import Strategy, now_ns

if TYPE_CHECKING:
    from rekindle.runtime.agent.pools.pool import Pool

log = logging.getLogger(__name__)


async def run(pool: Pool, one: Assignment, strategy: Strategy) -> None:
    """Run an input by this strategy; its result goes to the pool's host."""
    if strategy is Strategy.WARM:
        idle = pool.idle_runner() or await pool.host.leases.borrow_back(pool)
        if idle is None:
            _fail(pool, one, StrategyUnavailableError("warm: no idle runner is there"))
            return
        await pool.run_alone(idle, one)
        await _measure(pool, idle)
        return
    began_ns = now_ns()
    try:
        runner = await pool.starter.start(strategy, began_ns)
    except (Error, UserCodeFailed) as error:
        pool.host.started(pool, None, began_ns, str(error))
        _fail(pool, one, error)
        return
    except Exception as error:
        # A bug of ours: the caller must not wait for ever, and the log must show it.
        log.exception("bug", extra=kv(function=pool.revision.label))
        _fail(pool, one, InternalFailure(f"{type(error).__name__}: {error}"))
        return
    pool.host.started(pool, runner, began_ns, "")
    runner.private = True
    pool.welcome(runner)
    await pool.run_alone(runner, one)
    await _measure(pool, runner)
    if runner.state is RunnerState.IDLE:
        await pool.stop(runner)


def _fail(pool: Pool, one: Assignment, error: Error | UserCodeFailed) -> None:
    pool.host.done(outcome.of_one(one, outcome.start_failed(one, error)))


async def _measure(pool: Pool, runner: Runner) -> None:
    """Its share of memory, after the caller has its answer: reading it takes milliseconds."""
    if runner.state is RunnerState.IDLE:
        pool.host.measured(runner.id, await asyncio.to_thread(runner.pss_bytes))
