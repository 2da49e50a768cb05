"""What the controller knows, for ``rekindle status``, ``top`` and those who debug.

Cheap with a thousand functions, and answered while Redis is away: then without what only it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rekindle.controller.metrics.metrics import Metrics
from rekindle.controller.metrics.starts import seconds_of, strategy_of
from rekindle.controller.objects.census import Census
from rekindle.controller.pools.scaler import Scaler
from rekindle.controller.queue.dead_letters import DeadLetters
from rekindle.controller.queue.retention import Retention
from rekindle.controller.state import Agent, App, Function, State
from rekindle.controller.storage import keeping
from rekindle.controller.storage.damage import Damage
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.controller.storage.redis_link import RedisLink, RefusedError
from rekindle.exception import ServiceError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.version import PROTOCOL, __version__

#: How long a status waits for Redis.
_PATIENCE_S = 1.0
#: Functions that are described at a stretch.
_SLICE = 32


@dataclass(eq=False)
class StatusReport:
    """Makes the report."""

    _state: State
    _store: QueueStore
    _link: RedisLink
    _metrics: Metrics
    _scaler: Scaler
    _letters: DeadLetters
    _retention: Retention
    _census: Census
    _damage: Damage
    _started: float = field(default_factory=time.monotonic)

    async def make(self, *, pools: bool = True) -> pb.StatusReply:
        """Apps, functions with their queues, agents with their last heartbeat, Redis.

        With ``pools``, the settings, plans and costs of each, which are most of the work.
        """
        state = self._state
        functions = list(state.functions.values())
        redis, depths, dead, kept = await self._from_redis(functions)
        objects = await self._census.take(_PATIENCE_S) if redis.up else None
        shown: dict[str, pb.FunctionStatus] = {}
        for i, one in enumerate(functions, 1):
            depth = depths.get(one.function_id)
            pool = self._scaler.report(one) if pools else None
            shown[one.function_id] = self._function(one, depth, dead.get(one.function_id, 0), pool)
            if i % _SLICE == 0:
                await asyncio.sleep(0)  # calls go first
        return pb.StatusReply(
            instance_id=state.instance_id,
            version=__version__,
            protocol=PROTOCOL,
            uptime_s=round(time.monotonic() - self._started, 3),
            apps=[
                _app(app, [shown[one] for one in app.functions if one in shown])
                for app in state.apps.values()
            ],
            agents=[_agent(agent) for agent in state.agents.values()],
            dead_of_closed=sum(n for one, n in dead.items() if one not in shown),
            waiting_calls=len(state.waiters),
            loop_lag_ms=round(1000 * self._metrics.lag.last, 3),
            recent_starts=[_start(*one) for one in self._metrics.recent_starts],
            redis=redis,
            kept=kept,
            objects=objects,
            damaged=self._damage.messages(),
        )

    async def of_function(self, function: Function) -> pb.StatusReply:
        """One function with its queue and pools, in its app."""
        depth: tuple[int, float | None] | None = None
        with contextlib.suppress(ServiceError, TimeoutError):  # without what only Redis knows
            async with asyncio.timeout(_PATIENCE_S):
                depth = (await self._store.depth([function.function_id]))[0], None
        shown = self._function(function, depth, 0, self._scaler.report(function))
        return pb.StatusReply(apps=[_app(function.app, [shown])])

    async def _from_redis(
        self, functions: Sequence[Function]
    ) -> tuple[
        pb.RedisStatus,
        dict[str, tuple[int, float | None]],
        dict[str, int],
        pb.KeptStatus | None,
    ]:
        url = self._link.shown_url
        try:
            async with asyncio.timeout(_PATIENCE_S):
                info = await self._info()
                refusal = await self._link.refusal(_PATIENCE_S / 2)
                ids = [one.function_id for one in functions]
                found = await self._store.depth(ids, refused_too=True)
                depths = dict(zip(ids, found, strict=True))
                busy = [one for one in ids if depths[one]]
                oldest = dict(zip(busy, await self._store.oldest(busy), strict=True))
                dead = await self._letters.counts()
                kept = await self._retention.report(functions)
        except (ServiceError, TimeoutError) as error:
            reason = self._link.why_waiting() or str(error) or "no answer within a second"
            return pb.RedisStatus(url=url, reason=reason), {}, {}, None
        if "valkey_version" in info:  # it has the version of a Redis, for clients of that
            info = {**info, "redis_version": info["valkey_version"]}
        names = pb.RedisStatus.DESCRIPTOR.fields_by_name.keys() & info.keys()
        redis = pb.RedisStatus(url=url, up=True, **{name: info[name] for name in names})
        # It answers what only reads.
        redis.reason = self._link.why_waiting() or refusal
        redis.may_lose = keeping.may_lose(info)
        return redis, {one: (depths[one], oldest.get(one)) for one in ids}, dead, kept

    async def _info(self) -> dict[str, Any]:
        """What the server says of itself; nothing where its user may not ask."""
        try:
            found: dict[str, Any] = await self._link.command("INFO", patience_s=_PATIENCE_S / 2)
        except RefusedError:
            return {}
        return found

    def _function(
        self,
        function: Function,
        depth: tuple[int, float | None] | None,
        dead: int,
        pool: pb.PoolsStatus | None,
    ) -> pb.FunctionStatus:
        # Without Redis: what it last said.
        undone, since = (function.undone, None) if depth is None else depth
        return pb.FunctionStatus(
            function_id=function.function_id,
            name=function.name,
            undone=undone,
            queued=max(0, undone - function.outstanding - function.delayed),
            in_flight=function.outstanding,
            delayed=function.delayed,
            oldest_s=round(max(0.0, time.time() - since), 3) if since else 0.0,
            dead=dead,
            mean_execute_ms=round(function.mean_ns / 1e6, 3),
            last_minute=self._metrics.last_minute(function.function_id),
            pool=pool,
        )


def _app(app: App, functions: Sequence[pb.FunctionStatus]) -> pb.AppStatus:
    return pb.AppStatus(
        app_id=app.app_id,
        name=app.name,
        ephemeral=app.ephemeral,
        held=app.holders > 0,
        closing=app.closing,
        version=app.version,
        draining=app.retired,
        on_trial=app.on_trial,
        functions=functions,
    )


def _agent(agent: Agent) -> pb.AgentStatus:
    return pb.AgentStatus(
        agent_id=agent.agent_id,
        host=agent.host,
        pid=agent.pid,
        connected=agent.outbox is not None,
        joined=agent.joined,
        max_runners=agent.max_runners,
        in_flight=agent.count,
        last_heard_s=round(time.monotonic() - agent.heard, 3),
        stats=agent.stats if agent.heartbeats else None,
    )


def _start(agent_id: str, label: str, start: pb.RunnerStart) -> pb.StartStatus:
    seconds = seconds_of(start)
    return pb.StartStatus(
        agent_id=agent_id,
        function=label,
        function_id=start.function_id,
        runner_id=start.runner_id,
        strategy=strategy_of(start),
        ok=not start.error,
        reason=start.error,
        at=start.at_ns / 1e9 + seconds,
        ms=round(1000 * seconds, 3),
        phases={name: round(ms, 3) for name, ms in start.phases_ms.items()},
        gpus=start.gpus,
    )
