"""The autoscaler: runs each pool's policy on what happens there, and sends agents its plans.

It hears of arrivals and results as they happen and of the rest by heartbeats. A pool is planned
again when something has happened to it, at most every other second, or when its policy asked to be;
one to which nothing happens is only glanced at. Agents follow a plan without asking again, so
nothing waits for this package, and nothing stops when it does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rekindle.background_tasks import BackgroundTasks
from rekindle.controller import policies
from rekindle.controller.metrics.starts import seconds_of
from rekindle.controller.nodes.agentnews import DirectNews, News
from rekindle.controller.policies.policy import Policy
from rekindle.controller.pools import past, pool_settings
from rekindle.controller.pools.arrivals import ArrivalLog
from rekindle.controller.pools.costs import CostBook
from rekindle.controller.pools.plan_publisher import PlanPublisher
from rekindle.controller.pools.pool_settings import EVERY, EffectiveSettings, SettingsBook
from rekindle.controller.pools.pool_state import PoolState
from rekindle.controller.state import Agent, Function, State
from rekindle.guarded_loops import Guard
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.spec import params_digest

log = logging.getLogger(__name__)

TICK_S = 0.5
#: A pool is planned again this often at most, but when its settings change or its policy asks.
REPLAN_S = 2.0
#: For so long plans are made in one go; inputs and results have their turn before the next one.
_AT_ONCE_S, _PAUSE_S = 0.02, 0.02
#: Instances of one class that are sized by themselves; others follow the class's plan.
_MOST_INSTANCES = 256
_TIDY_S = 5.0

Key = tuple[str, str]  # function id, digest of the parameters


@dataclass(eq=False)
class Scaler:
    """All pools of this controller."""

    _state: State
    book: SettingsBook
    arrivals: ArrivalLog
    costs: CostBook
    _tasks: BackgroundTasks
    _pools: dict[Key, PoolState] = field(default_factory=dict)
    _of_function: dict[str, list[PoolState]] = field(default_factory=dict)
    _policies: dict[str, Policy] = field(default_factory=dict)
    _dirty: dict[Key, PoolState] = field(default_factory=dict)
    _tidied: float = 0.0
    #: Agent id -> whether it is connected.
    _agents: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._clock = _clock()
        self._orders = PlanPublisher(self._state)

    # ---- what the other packages say ----------------------------------------------------------

    def opened(self, function: Function) -> None:
        """A function is registered, or was restored: its plan goes to the agents."""
        function.limit = self.effective(function).settings.max_containers or 0
        self._pool(function, "", b"")
        self._tasks.spawn(self._know(function), "costs of a function")

    async def _know(self, function: Function) -> None:
        """What was measured of it in former runs."""
        await self.costs.load([function.label])
        pool = self._pools.get((function.function_id, ""))
        if pool is not None:
            self._dirty[function.function_id, ""] = pool

    def accepted(self, function: Function, params: bytes, count: int) -> None:
        """New inputs are on the queue."""
        if count <= 0:
            return
        now = self._clock()
        pool = self._pool_of(function, params)
        first, woken = not pool.arrivals, not pool.in_flight
        pool.arrived(count, now)
        self.arrivals.arrived((pool.label, pool.digest), count, now)
        # At once: the plan of a pool that no one used says nothing of what is to stay now.
        if first or (woken and pool.replan_at <= now):
            self._replan(pool, now)
        elif woken or pool.replan_at <= now:
            self._touch(pool)

    def ended(self, function: Function, params: bytes, count: int) -> None:
        """Inputs have a result for good, whatever it is."""
        pool, now = self._pool_of(function, params), self._clock()
        if pool.ended(count, now):
            if pool.replan_at <= now and self._is_open(pool):
                self._replan(pool, now)
            else:
                self._touch(pool)

    def served(self, function: Function, params: bytes, count: int, execute_ns: int) -> None:
        """Inputs have run, for so long together."""
        pool = self._pool_of(function, params)
        self.arrivals.served((pool.label, pool.digest), count, execute_ns / 1e9)

    def joined(self, agent: Agent) -> None:
        """An agent is connected, for the first time or again: it gets all plans, at once."""
        for pool in list(self._pools.values()):
            pool.sent.pop(agent.agent_id, None)
            self._touch(pool, now=True)
        self.tick()

    def heartbeat(self, agent: Agent, news: News) -> None:
        """An agent reported on itself."""
        now = self._clock()
        held = {(entry.function_id, entry.params): entry for entry in agent.stats.held}
        for key, entry in held.items():
            pool = self._pools.get(key)
            if pool is None:
                continue
            before = pool.reported.get(agent.agent_id)
            pool.reported[agent.agent_id] = entry
            costs = self.costs.of(pool.label)
            levels = costs.levels(snapshots=_snapshots(pool))
            costs.held(entry)
            changed = costs.levels(snapshots=_snapshots(pool)) is not levels
            quiet = pool.rested(now - entry.quiet_s)
            if changed or quiet or (before is None and pool.sent) or self._orders.over_share(pool):
                self._touch(pool)
        for key, pool in self._pools.items():
            if key not in held and agent.agent_id in pool.reported:  # nothing is held any more
                del pool.reported[agent.agent_id]
                if pool.rested(now):
                    self._touch(pool)
        for start in news.starts:
            function = self._state.functions.get(start.function_id)
            if function is not None and not start.error:
                self._started(function, start)
        for eviction in news.evictions:
            pool = self._pools.get((eviction.function_id, ""))
            if pool is not None:  # some policies learn from it
                self._policy(pool.effective).evicted(eviction.priority)
        for called in news.direct:
            function = self._state.functions.get(called.function_id)
            # The first heartbeat reports what was before this controller's time.
            if function is not None and agent.heartbeats > 1:
                self._called_directly(function, called, now)

    def _started(self, function: Function, start: pb.RunnerStart) -> None:
        costs = self.costs.of(function.label)
        kind = "restore_disk" if start.from_disk else start.strategy
        costs.started(kind, seconds_of(start))
        key = (start.function_id, start.params)
        pool = self._pools.get(key) or self._pools.get((start.function_id, ""))
        if pool is not None:
            pool.started += 1

    def _called_directly(self, function: Function, called: DirectNews, now: float) -> None:
        pool = self._pool_of(function, called.params)
        pool.direct(called.calls, called.busy_s, now)
        name = (pool.label, pool.digest)
        self.arrivals.arrived(name, called.calls, now)
        self.arrivals.served(name, called.calls, called.busy_s)
        if pool.replan_at <= now:
            self._touch(pool)

    # ---- settings --------------------------------------------------------------------------

    async def set_pool(
        self,
        function: Function,
        params: bytes,
        changes: pool_settings.Changes,
        *,
        every: bool,
        reset: bool,
    ) -> EffectiveSettings:
        """Change settings, and have them followed at once. Raises InvalidError."""
        key = EVERY if every else params_digest(params)
        effective = await self.book.change(
            function.function_id, function.spec, key, changes, reset=reset
        )
        if not every:
            self._pool_of(function, params)
        function.limit = self.effective(function).settings.max_containers or 0
        for pool in self._of(function):
            self._resettle(pool)
            self._touch(pool, now=True)
        self.tick()
        return effective

    def effective(self, function: Function, digest: str = "") -> EffectiveSettings:
        """What holds for a pool of a function."""
        return self.book.effective(function.function_id, function.spec, digest or EVERY)

    def _resettle(self, pool: PoolState) -> None:
        before, pool.effective = pool.effective, self.effective(pool.function, pool.digest)
        if (before.policy, before.options) != (pool.effective.policy, pool.effective.options):
            pool.sizer = self._policy(pool.effective).sizer()
            pool.plan = None
            self._prime(pool)

    def _policy(self, effective: EffectiveSettings) -> Policy:
        """One object for all pools that have the same policy with the same options."""
        name = json.dumps([effective.policy, dict(effective.options)], sort_keys=True)
        policy = self._policies.get(name)
        if policy is None:
            policy = self._policies[name] = policies.make(effective.policy, **effective.options)
        return policy

    # ---- pools -----------------------------------------------------------------------------

    def _pool_of(self, function: Function, params: bytes) -> PoolState:
        digest = params_digest(params)
        known = self._pools.get((function.function_id, digest))
        if known is not None:
            return known
        if digest and self._instances(function) >= _MOST_INSTANCES:
            digest, params = "", b""
        return self._pool(function, digest, params)

    def _pool(self, function: Function, digest: str, params: bytes) -> PoolState:
        key = (function.function_id, digest)
        pool = self._pools.get(key)
        if pool is None:
            effective = self.effective(function, digest)
            now = self._clock()
            pool = self._pools[key] = PoolState(
                function,
                digest,
                params,
                effective,
                self._policy(effective).sizer(),
                now,
            )
            self._of_function.setdefault(function.function_id, []).append(pool)
            if digest:
                whole = self._pools.get((function.function_id, ""))
                if whole is not None:  # no one uses the class without parameters
                    self._touch(whole, now=True)
            self._prime(pool)
            self._touch(pool, now=True)
        return pool

    def _of(self, function: Function) -> list[PoolState]:
        known = self._of_function.get(function.function_id, ())
        return [pool for pool in known if pool.function is function]

    def _instances(self, function: Function) -> int:
        """Its pools with parameters."""
        return sum(1 for pool in self._of(function) if pool.digest)

    def _prime(self, pool: PoolState) -> None:
        if past.note_missed(pool):
            self._tasks.spawn(self._learn(pool), "recorded arrivals")

    async def _learn(self, pool: PoolState) -> None:
        policy = self._policy(pool.effective)
        if await past.learn(pool, policy, self.arrivals, self._clock):
            self._touch(pool, now=True)

    def _touch(self, pool: PoolState, *, now: bool = False) -> None:
        """Plan it again at the next tick, or once its time has come."""
        self._dirty[pool.function.function_id, pool.digest] = pool
        if now:
            pool.replan_at = -1.0

    # ---- plans -----------------------------------------------------------------------------

    async def run_forever(self) -> None:
        """Plan what has to be planned; until cancelled."""
        pause_s, guard = TICK_S, Guard("plan pools")
        while True:
            await asyncio.sleep(pause_s)
            pause_s = TICK_S
            with guard.one_pass():  # where it fails, pools go on by the plans that they have
                if not self.tick():
                    pause_s = _PAUSE_S

    def tick(self) -> bool:
        """Make and send the plans that are due; False when more are left."""
        now = self._clock()
        agents = {a.agent_id: a.outbox is not None for a in self._state.agents.values()}
        changed = agents != self._agents  # what one kept is another's to keep
        self._agents = agents
        for pool in self._pools.values():
            if changed or pool.again_at <= now:
                pool.again_at = math.inf
                self._touch(pool, now=True)
        if now - self._tidied > _TIDY_S:
            self._tidied = now
            self._tidy(now)
        for key, pool in list(self._dirty.items()):
            if pool.replan_at > now and not self._unsent(pool):
                continue
            del self._dirty[key]
            if self._is_open(pool):
                self._replan(pool, now)
                if self._clock() - now > _AT_ONCE_S:
                    return False
        return True

    def _is_open(self, pool: PoolState) -> bool:
        return not pool.function.app.closing and (
            self._state.functions.get(pool.function.function_id) is pool.function
        )

    def _unsent(self, pool: PoolState) -> bool:
        return any(a.agent_id not in pool.sent for a in self._state.live_agents())

    def _replan(self, pool: PoolState, now: float) -> None:
        function = pool.function
        if pool.in_flight and not (function.held or function.coming or function.backlog):
            pool.ended(pool.in_flight, now)  # a count that was lost with something else
        levels = self.costs.of(pool.label).levels(snapshots=_snapshots(pool))
        service_s = self.arrivals.service((pool.label, pool.digest)).mean_s
        before = pool.plan
        pool.plan = plan = pool.sizer.plan(pool.view(levels, service_s, now))
        pool.replan_at = now + REPLAN_S
        if plan.again_s is not None:
            pool.again_at = now + plan.again_s
        if before is not None and before is not plan:
            log.info(
                "new plan",
                extra=kv(
                    function=pool.label,
                    params=pool.digest[:8],
                    policy=pool.effective.policy,
                    why=plan.why,
                ),
            )
        self._orders.send(pool, plan, has_instances=bool(self._instances(pool.function)))

    def _tidy(self, now: float) -> None:
        """Forget the pools of closed apps, and of instances that nobody calls any more."""
        for pool in [pool for pool in self._pools.values() if pool.rests(now)]:
            function_id = pool.function.function_id
            # What was set for it an agent that joins has to know before its first call.
            if not self.book.has_own(function_id, pool.digest) and self._orders.withdraw(pool):
                del self._pools[function_id, pool.digest]
                self._dirty.pop((function_id, pool.digest), None)
                self._of_function[function_id].remove(pool)
        functions = self._state.functions
        gone = {key[0] for key in self._pools if key[0] not in functions}
        for key in [key for key in self._pools if key[0] in gone]:
            del self._pools[key]
            self._dirty.pop(key, None)
        for function_id in gone:
            self._of_function.pop(function_id, None)
            self._tasks.spawn(self.book.forget(function_id), "forget pool settings")
        self.costs.keep_only({function.label for function in functions.values()})

    # ---- for people ------------------------------------------------------------------------

    def report(self, function: Function) -> pb.PoolsStatus:
        """Settings, pools and costs of a function, for the status."""
        label = function.label
        costs = self.costs.of(label)
        service = self.arrivals.service((label, ""))
        return pb.PoolsStatus(
            settings=self.effective(function).report(),
            pools=[pool.report() for pool in self._of(function)],
            costs=costs.report(),
            service_ms=round(1000 * service.mean_s, 3),
            service_p95_ms=round(1000 * service.quantile_s(0.95), 3),
        )


def _clock() -> Callable[[], float]:
    """Seconds since the epoch, that never run backwards while this process lives."""
    ahead = time.time() - time.monotonic()
    return lambda: ahead + time.monotonic()


def _snapshots(pool: PoolState) -> bool:
    return pool.function.spec.enable_memory_snapshot
