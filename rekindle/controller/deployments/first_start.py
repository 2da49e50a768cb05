"""A new version's first start, before it takes the place of one that works.

Tried is each function of which the present version has runners just now, as these are not there
any more afterwards; each class that can be made without arguments, as its hooks run nowhere else;
and one function of each module, image and set of volumes that nothing of that is of. Runners of the
first kind stay, for the first calls; others end, unless the function's plan keeps them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from rekindle.controller.core import Core
from rekindle.controller.nodes.orders import Orders
from rekindle.controller.state import App, Function
from rekindle.exception import DeserializationError, StartError
from rekindle.wire import class_parameters
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.phases import Strategy
from rekindle.wire.spec import FunctionSpec

log = logging.getLogger(__name__)

#: Started at a time: the present version has the machine, too.
_AT_ONCE = 2
#: So many agents may be lost while they start one: what ends them all might be the version.
_MOST_LOST = 3
#: What it waits for, the present version may hold.
_MOST_FOR_GPU_S = 60.0
#: Heartbeats come once a second; one that is hung is not waited for.
_NEWS_S, _LOOK_S = 3.0, 0.02


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
                reply = await self._start(function, params, ends=function not in used)
            if reply is None:
                notes.append("no node is connected, so the new version was not started first")
            elif reply.late and function.spec.gpu:
                notes.append(f"{function.name} was not started first: it waits for a GPU")
            elif not reply.ok:
                failed.append(f"{function.name}: {reply.reason}")

        if present is not None and any(map(_needs_values, app.functions.values())):
            await self._news()
        used = self._used(app, present, notes)
        tried = used | _others(app, used)
        await asyncio.gather(*(one(*each) for each in tried.items()))
        if failed:
            log.warning("a version does not start", extra=kv(app=app.name, reason=failed[0]))
            raise StartError("; ".join(sorted(failed)))
        return sorted(set(notes))

    async def _start(
        self, function: Function, params: bytes, *, ends: bool
    ) -> pb.PrepareReply | None:
        """What came of it; None where there is no node to start it on."""
        limit_s = function.spec.startup_timeout_s
        if function.spec.gpu:
            limit_s = min(limit_s, _MOST_FOR_GPU_S)
        request = pb.PrepareRequest(params=params, strategy=Strategy.WARM.value, timeout_s=limit_s)
        lost = 0
        while await self._orders.any_agent():
            reply = await self._orders.prepare(function, request, ends=ends)
            if not reply.lost:
                return reply
            if (lost := lost + 1) == _MOST_LOST:
                reply.reason = f"the agents that were to start it were lost, {lost} of them"
                return reply
        return None

    async def _news(self) -> None:
        """Until all agents have said what they have: of calls without the controller, they alone
        know the parameters."""
        before = [(agent, agent.heartbeats) for agent in self._core.state.live_agents()]
        until = asyncio.get_running_loop().time() + _NEWS_S
        while asyncio.get_running_loop().time() < until and any(
            agent.heartbeats == count for agent, count in before if agent.outbox is not None
        ):
            await asyncio.sleep(_LOOK_S)

    def _used(self, app: App, present: App | None, notes: list[str]) -> dict[Function, bytes]:
        """Functions that have runners now, each with the parameters of an instance.

        ``notes`` gets why one that has runners has none.
        """
        known = {function.name: function for function in app.functions.values()}
        tried: dict[Function, bytes] = {}
        for former in present.functions.values() if present is not None else ():
            function, params = known.get(former.name), self._in_use(former)
            if params is None or function is None:
                continue
            if former.spec.parameters != function.spec.parameters:
                params = _as_taken_now(function, params)
            if params is not None:
                tried[function] = params
            elif _needs_values(function):
                notes.append(
                    f"{function.name} was not started first: it has to be given other parameters "
                    f"than those that it runs with"
                )
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


def _others(app: App, used: dict[Function, bytes]) -> dict[Function, bytes]:
    """What is tried besides, with the parameters of an instance that can be."""
    known = {function.name: function for function in app.functions.values()}
    tried = {
        function: _defaults(function.spec)
        for function in known.values()
        if function.spec.kind == "cls" and function not in used and not _needs_values(function)
    }
    starts = {_start_of(function.spec) for function in used | tried}
    for function in sorted(known.values(), key=lambda one: bool(one.spec.gpu)):
        start = _start_of(function.spec)
        if function.spec.kind == "function" and start not in starts:
            starts.add(start)
            tried[function] = b""
    return tried


def _start_of(spec: FunctionSpec) -> tuple[object, ...]:
    """Equal for what starts alike, but for the hooks of a class."""
    return spec.module, spec.program, spec.image, spec.volumes


def _needs_values(function: Function) -> bool:
    """Whether only its calls tell what parameters an instance can have."""
    return any(one.default is None for one in function.spec.parameters)


def _defaults(spec: FunctionSpec) -> bytes:
    """What an instance has that is made without arguments."""
    values = {one.name: one.value() for one in spec.parameters}
    return class_parameters.pack(spec.name, {k: v for k, v in values.items() if v is not None})


def _as_taken_now(function: Function, params: bytes) -> bytes | None:
    """Parameters of an instance of another version; None where this one takes them not."""
    try:
        return class_parameters.for_others(function.name, function.spec.parameters, params)
    except DeserializationError:  # of a program of another version of rekindle
        return None
