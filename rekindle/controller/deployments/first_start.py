"""A new version's first start, before it takes the place of one that works.

Tried is each function of which the present version has runners just now, as these are not there
any more afterwards; where it has none, the first function. The runners that come of it stay, for
the first calls.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from rekindle.controller.core import Core
from rekindle.controller.nodes.orders import Orders
from rekindle.controller.state import App, Function
from rekindle.exception import StartError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.class_parameters import for_others
from rekindle.wire.logs import kv
from rekindle.wire.phases import Strategy

log = logging.getLogger(__name__)

#: Started at a time: the present version has the machine, too.
_AT_ONCE = 2
#: What it waits for, the present version may hold.
_MOST_FOR_GPU_S = 60.0


@dataclass(eq=False)
class FirstStart:
    """Starts one runner of each function that is tried."""

    _core: Core
    _orders: Orders

    async def of(self, app: App, present: App | None) -> list[str]:
        """Return when all have started, with notes on what could not be tried.

        Each has the ``startup_timeout`` of its function. Raises StartError, with what went wrong.
        """
        places = asyncio.Semaphore(_AT_ONCE)
        failed: list[str] = []
        notes: list[str] = []

        async def one(function: Function, params: bytes) -> None:
            async with places:
                reply = await self._start(function, params)
            if reply is None:
                notes.append("no node is connected, so the new version was not started first")
            elif reply.late and function.spec.gpu:
                notes.append(f"{function.name} was not started first: it waits for a GPU")
            elif not reply.ok:
                failed.append(f"{function.name}: {reply.reason}")

        await asyncio.gather(*(one(*tried) for tried in self._tried(app, present, notes)))
        if failed:
            log.warning("a version does not start", extra=kv(app=app.name, reason=failed[0]))
            raise StartError("; ".join(sorted(failed)))
        return sorted(set(notes))

    async def _start(self, function: Function, params: bytes) -> pb.PrepareReply | None:
        """What came of it; None where there is no node to start it on."""
        limit_s = function.spec.startup_timeout_s
        if function.spec.gpu:
            limit_s = min(limit_s, _MOST_FOR_GPU_S)
        request = pb.PrepareRequest(params=params, strategy=Strategy.WARM.value, timeout_s=limit_s)
        while self._core.state.live_agents():
            reply = await self._orders.prepare(function, request)
            if not reply.lost:
                return reply
        return None

    def _tried(
        self, app: App, present: App | None, notes: list[str]
    ) -> list[tuple[Function, bytes]]:
        """Functions, each with the parameters of an instance that there is, as it takes them now.

        ``notes`` gets why one has none.
        """
        known = {function.name: function for function in app.functions.values()}
        tried = []
        for function in present.functions.values() if present is not None else ():
            params, new = self._in_use(function), known.get(function.name)
            if params is None or new is None:
                continue
            if function.spec.parameters != new.spec.parameters:
                params = for_others(new.name, new.spec.parameters, params)
            if params is not None:
                tried.append((new, params))
            else:
                notes.append(
                    f"{new.name} was not started first: it has to be given other parameters than "
                    f"those that it runs with"
                )
        if not tried:
            # What parameters an instance of a class can have, only its calls tell.
            tried = [(one, b"") for one in known.values() if one.spec.kind == "function"][:1]
        return tried

    def _in_use(self, function: Function) -> bytes | None:
        """The parameters of its runners; None where it has none, or they are not known."""
        state, function_id = self._core.state, function.function_id
        for call in state.calls.values():
            if call.function is function:
                return call.params
        stats = [agent.stats for agent in state.agents.values()]
        runs = any(one.function_id == function_id for of in stats for one in of.runners)
        for direct in (one for of in stats for one in of.direct):
            if direct.function_id == function_id and (runs or direct.leases):
                return direct.params
        return b"" if runs and function.spec.kind == "function" else None
