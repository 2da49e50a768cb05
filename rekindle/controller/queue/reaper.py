"""Leases: what an agent has lost track of is placed again, and what no one has is taken back.

An input may be at an agent for its startup_timeout, its timeout and a margin without the agent
saying so; each heartbeat that names it begins that time again. Entries of the queue that are
pending in Redis for so long without being in memory here (taken under another name, or lost track
of) are claimed with XAUTOCLAIM. Lists of calls lose those whose time was over (retention.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from rekindle import guarded_loops
from rekindle.controller.core import Core
from rekindle.controller.queue.redelivery import Redelivery
from rekindle.controller.queue.retention import Retention
from rekindle.controller.queue.stream_loader import StreamLoader
from rekindle.controller.queue.table import InputTable
from rekindle.controller.state import Agent, DetachedInput, Function
from rekindle.exception import ServiceError
from rekindle.guarded_loops import Retries
from rekindle.wire import rekindle_pb2 as pb

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Reaper:
    """Looks for leases that have ended."""

    _core: Core
    _table: InputTable
    _redelivery: Redelivery
    _loader: StreamLoader
    _retention: Retention
    #: By function: what could not be looked at the last time.
    _not_looked_at: dict[str, Retries] = field(default_factory=dict)

    def renew(self, agent: Agent, in_flight: Iterable[pb.InFlight], *, lists: bool) -> None:
        """A heartbeat: the agent has these (all that it was given, where it does not say)."""
        listed: dict[str, set[int]] = {}
        for one in in_flight:
            listed.setdefault(one.call_id, set()).update(one.indexes)
        self._table.renew(agent, listed if lists else None)

    async def run(self) -> None:
        """Look again and again, until cancelled."""

        async def one_pass() -> None:
            await asyncio.sleep(self._core.settings.reap_s)
            self.look()
            for function in list(self._core.state.functions.values()):
                await self._claim(function)
            for gone in self._not_looked_at.keys() - self._core.state.functions.keys():
                del self._not_looked_at[gone]
            await self._retention.prune()

        await guarded_loops.repeat("look for ended leases", one_pass)

    async def _claim(self, function: Function) -> None:
        if function.app.closing:
            return
        try:
            await self._loader.claim(function, self._table.lease_s(function))
        except ServiceError as error:
            if not function.app.closing:  # its queue goes with it
                made = Retries(log, "a queue was not looked at", "a queue is looked at again")
                retries = self._not_looked_at.setdefault(function.function_id, made)
                retries.failed(error, function=function.function_id)
        else:
            if (failed := self._not_looked_at.pop(function.function_id, None)) is not None:
                failed.worked(function=function.function_id)

    def look(self) -> None:
        """Place again what agents have had for too long without naming it."""
        now = asyncio.get_running_loop().time()
        for agent in list(self._core.state.agents.values()):
            if agent.outbox is None:
                continue  # its grace time decides
            for holding in list(agent.holdings):
                if holding.leased_until > now:
                    continue
                if isinstance(holding, DetachedInput):
                    self._redelivery.lease_ended(holding, [holding.index])
                    continue
                gone = [index for index in holding.out if index not in holding.listed]
                holding.leased_until = self._table.lease(holding.entry.call.function)
                if gone:
                    self._redelivery.lease_ended(holding, gone)
