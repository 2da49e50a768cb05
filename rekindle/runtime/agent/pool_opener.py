"""Finds the pool that an order is for, and opens it, with its revision, at the first one.

Knows nothing of the orders themselves, and starts no process.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rekindle.exception import Error, ExecutionError
from rekindle.runtime.agent.functions import Functions, OpenFunction
from rekindle.runtime.agent.history import History
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.results import Results
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.pools.agenda import Agenda, PoolKey
from rekindle.runtime.agent.pools.plan import Plans
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.starts import gpu_freezing
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.revision import Revision, revision_key
from rekindle.wire.spec import params_digest


@dataclass(eq=False)
class PoolOpener:
    """Finds the pools of a node, and opens those that are not there."""

    _context: NodeContext
    _inventory: Inventory
    _functions: Functions
    _plans: Plans
    _agenda: Agenda
    _results: Results
    _history: History

    async def pool(self, function_id: str, params: bytes) -> Pool:
        """The pool of a function's instances with such parameters. Raises Error alone: what waits
        for the pool must be answered, whatever went wrong."""
        try:
            return await self._find_or_open(function_id, params)
        except Error:
            raise
        except Exception as error:
            raise outcome.unforeseen(error, function=function_id) from error

    async def _find_or_open(self, function_id: str, params: bytes) -> Pool:
        key = (function_id, params_digest(params))
        while True:
            function = await self._functions.get(function_id)
            if self._results.leaving:
                raise ExecutionError(self._results.leaving)
            pool = self._inventory.pools.get(key)
            if pool is None:
                pool = await self._open(key, function, params)
            elif pool.opening is not None:
                await pool.opening.wait()
            if self._inventory.pools.get(key) is pool:  # its app was not drained meanwhile
                return pool

    async def _open(self, key: PoolKey, function: OpenFunction, params: bytes) -> Pool:
        revision = self._revision(function, params)
        starter = self._functions.starter(function, revision)
        self._inventory.pools[key] = pool = Pool(
            *(key, function.app_id, revision, starter, self._agenda),
            *(self._results, self._history, self._context.settings.exit_grace_s),
        )
        pool.on_trial = function.app_id in self._functions.on_trial
        pool.retired_at = self._functions.retired.get(function.app_id, 0.0)
        if (plan := self._plans.find(key)) is not None:
            pool.sizing.order(plan)
        opening = pool.opening = asyncio.Event()
        try:
            with pool.used():
                if revision.snapshots_enabled and (
                    not await revision.tracker.refresh() or await revision.template_is_outdated()
                ):
                    # A package or a file changed under a template that is alive.
                    revision.drop_template()
                if revision.gpu_tracker is not None:
                    await revision.gpu_tracker.refresh()
        finally:
            pool.opening = None
            opening.set()
        return pool

    def _revision(self, function: OpenFunction, params: bytes) -> Revision:
        may = set(function.spec.secrets_in_snapshot)
        in_snapshot = {k: v for k, v in function.secrets.items() if k in may}
        key = revision_key(function.spec, params, in_snapshot)
        revision = self._inventory.revisions.get(key)
        if revision is None:
            revision = Revision(
                spec=function.spec,
                code=function.code,
                params=params,
                source_dir=function.source_dir,
                tracker=gpu_freezing.template_tracker(self._context, function.spec, params),
                gpu_tracker=gpu_freezing.tracker_of(self._context, function.spec, params),
                secrets_in_snapshot=in_snapshot,
                withheld=(
                    tuple(sorted((set(function.secrets) | function.named_keys) - may))
                    if function.spec.enable_memory_snapshot
                    else ()
                ),
            )
            for tracker in filter(None, (revision.tracker, revision.gpu_tracker)):
                tracker.env = revision.environment()
            self._inventory.revisions[key] = revision
        return revision
