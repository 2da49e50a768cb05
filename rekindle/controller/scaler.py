"""The autoscaler: runs each pool's policy on what happens there, and sends agents its plans.

It is told of arrivals and results as they happen and of the rest by heartbeats. A pool is planned
anew when something has happened to it, at most every other second, or when its policy asked to be;
one to which nothing happens costs nothing. Agents follow a plan without asking again, so nothing
waits for this room, and nothing stops when it does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rekindle.controller import policies, pools
from rekindle.controller.allotment import Node, Share, settled, shares
from rekindle.controller.arrivals import Arrivals
from rekindle.controller.costs import CostBook, kind_of
from rekindle.controller.metrics import starts
from rekindle.controller.policies.policy import Policy
from rekindle.controller.pools import EVERY, InForce, SettingsBook
from rekindle.controller.sized import SizedPool, tell_past
from rekindle.controller.state import Agent, Function, State
from rekindle.controller.tasks import Tasks
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.pools import PoolPlan

log = logging.getLogger(__name__)

TICK_S = 0.5
#: A pool is planned anew this often at most, but when its settings change or its policy asks.
REPLAN_S = 2.0
#: Plans made in one tick; the others have the next one.
_MOST_PLANS = 500
#: Recorded arrivals that a new sizer is told of.
_PAST = 5_000
#: Instances of one class that are sized by themselves; others follow the class's plan.
_MOST_INSTANCES = 256
_TIDY_S = 5.0

Key = tuple[str, str]  # function id, digest of the parameters


class Scaler:
    """All pools of this controller."""

    def __init__(
        self, state: State, book: SettingsBook, arrivals: Arrivals, costs: CostBook, tasks: Tasks
    ) -> None:
        self._state = state
        self.book = book
        self.arrivals = arrivals
        self.costs = costs
        self._tasks = tasks
        self._pools: dict[Key, SizedPool] = {}
        self._instances: dict[str, int] = {}  # function id -> pools with parameters
        self._policies: dict[str, Policy] = {}
        self._dirty: dict[Key, SizedPool] = {}
        self._due: list[tuple[float, int, SizedPool]] = []
        self._order = itertools.count()
        self._clock = _clock()
        self._start_numbers: dict[str, int] = {}
        self._eviction_numbers: dict[str, int] = {}
        self._tidied = 0.0

    # ---- what the other rooms say ----------------------------------------------------------

    async def load(self, function: Function) -> None:
        """What is kept of a function of the controller before this one."""
        await self.book.load(function.function_id)

    def opened(self, function: Function) -> None:
        """A function is registered, or was restored: its plan goes to the agents."""
        function.limit = self.in_force(function).settings.max_containers or 0
        self._pool(function, "", b"")
        self._tasks.start(self._know(function), "costs of a function")

    async def _know(self, function: Function) -> None:
        """What was measured of it in former runs."""
        await self.costs.load([f"{function.app.name}.{function.name}"])
        pool = self._pools.get((function.function_id, ""))
        if pool is not None:
            self._dirty[function.function_id, ""] = pool

    def accepted(self, function: Function, params: bytes, count: int) -> None:
        """New inputs are on the queue."""
        if count <= 0:
            return
        now = self._clock()
        pool = self._pool_of(function, params)
        woken = not pool.in_flight
        pool.arrived(count, now)
        self.arrivals.arrived((pool.label, pool.digest), count, now)
        if woken or pool.replan_at <= now:
            self._touch(pool)

    def ended(self, function: Function, params: bytes, count: int) -> None:
        """Inputs have a result for good, whatever it is."""
        pool = self._pool_of(function, params)
        if pool.ended(count, self._clock()):
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

    def heartbeat(self, agent: Agent, stats: Mapping[str, Any]) -> None:
        """An agent told of itself."""
        now = self._clock()
        for entry in _entries(stats, "held"):
            pool = self._pools.get((str(entry.get("function_id")), str(entry.get("params", ""))))
            if pool is None:
                continue
            before = pool.reported.get(agent.agent_id)
            pool.reported[agent.agent_id] = entry
            costs = self.costs.of(pool.label)
            levels = costs.levels(snapshots=_snapshots(pool))
            costs.held(entry)
            changed = costs.levels(snapshots=_snapshots(pool)) is not levels
            if changed or (before is None and pool.sent) or self._over_share(pool):
                self._touch(pool)
        self._starts(agent, stats)
        self._evictions(agent, stats)
        for entry in _entries(stats, "direct_calls"):
            self._direct(entry, now)

    def _starts(self, agent: Agent, stats: Mapping[str, Any]) -> None:
        after = self._start_numbers.get(agent.agent_id, 0)
        raw = {int(e.get("seq") or 0): e for e in _entries(stats, "starts")}
        for start in starts.read(stats.get("starts"), after):
            after = max(after, start.number)
            function = self._state.functions.get(start.function_id)
            if function is None or not start.ok:
                continue
            entry = raw.get(start.number, {})
            costs = self.costs.of(f"{function.app.name}.{function.name}")
            costs.started(kind_of(start, entry), start.seconds)
            key = (start.function_id, str(entry.get("params", "")))
            pool = self._pools.get(key) or self._pools.get((start.function_id, ""))
            if pool is not None:
                pool.started += 1
        self._start_numbers[agent.agent_id] = after

    def _evictions(self, agent: Agent, stats: Mapping[str, Any]) -> None:
        """What an agent gave up for memory: some policies learn from it."""
        memory = stats.get("memory")
        after = self._eviction_numbers.get(agent.agent_id, 0)
        for entry in _entries(memory if isinstance(memory, dict) else {}, "evicted"):
            number = int(entry.get("seq") or 0)
            if number <= after:
                continue
            self._eviction_numbers[agent.agent_id] = max(
                number, self._eviction_numbers.get(agent.agent_id, 0)
            )
            pool = self._pools.get((str(entry.get("function_id")), ""))
            if pool is not None:
                self._policy(pool.force).evicted(float(entry.get("priority") or 0.0))

    def _direct(self, entry: Mapping[str, Any], now: float) -> None:
        function = self._state.functions.get(str(entry.get("function_id")))
        count = int(entry.get("count") or 0)
        if function is None or count <= 0:
            return
        pool = self._pools.get((function.function_id, str(entry.get("params", ""))))
        if pool is None:
            pool = self._pool(function, "", b"")
        seconds = float(entry.get("execute_s") or 0.0)
        pool.direct(count, seconds, now)
        name = (pool.label, pool.digest)
        self.arrivals.arrived(name, count, now)
        self.arrivals.served(name, count, seconds)
        if pool.replan_at <= now:
            self._touch(pool)

    # ---- settings --------------------------------------------------------------------------

    async def set_pool(
        self, function: Function, params: bytes, changes: pools.Changes, *, every: bool, reset: bool
    ) -> InForce:
        """Change settings, and have them followed at once. Raises InvalidError."""
        key = EVERY if every else pools.digest(params)
        force = await self.book.change(
            function.function_id, function.spec, key, changes, reset=reset
        )
        if not every:
            self._pool_of(function, params)
        function.limit = self.in_force(function).settings.max_containers or 0
        for pool in self._of(function):
            self._resettle(pool)
            self._touch(pool, now=True)
        self.tick()
        return force

    def in_force(self, function: Function, digest: str = "") -> InForce:
        """What holds for a pool of a function."""
        return self.book.in_force(function.function_id, function.spec, digest or EVERY)

    def _resettle(self, pool: SizedPool) -> None:
        before, pool.force = pool.force, self._in_force(pool.function, pool.digest)
        if (before.policy, before.options) != (pool.force.policy, pool.force.options):
            pool.sizer = self._policy(pool.force).sizer()
            pool.plan = None
            self._prime(pool)

    def _in_force(self, function: Function, digest: str) -> InForce:
        return self.book.in_force(function.function_id, function.spec, digest or EVERY)

    def _policy(self, force: InForce) -> Policy:
        """One object for all pools that have the same policy with the same options."""
        name = json.dumps([force.policy, dict(force.options)], sort_keys=True)
        policy = self._policies.get(name)
        if policy is None:
            policy = self._policies[name] = policies.make(force.policy, **force.options)
        return policy

    # ---- pools -----------------------------------------------------------------------------

    def _pool_of(self, function: Function, params: bytes) -> SizedPool:
        digest = pools.digest(params)
        known = self._pools.get((function.function_id, digest))
        if known is not None:
            return known
        if digest and self._instances.get(function.function_id, 0) >= _MOST_INSTANCES:
            digest, params = "", b""
        return self._pool(function, digest, params)

    def _pool(self, function: Function, digest: str, params: bytes) -> SizedPool:
        key = (function.function_id, digest)
        pool = self._pools.get(key)
        if pool is None:
            force = self._in_force(function, digest)
            now = self._clock()
            pool = self._pools[key] = SizedPool(
                function, digest, params, force, self._policy(force).sizer(), now, demand_at=now
            )
            if digest:
                self._instances[function.function_id] = (
                    self._instances.get(function.function_id, 0) + 1
                )
                whole = self._pools.get((function.function_id, ""))
                if whole is not None:  # nobody uses the class without parameters
                    self._touch(whole, now=True)
            self._prime(pool)
            self._touch(pool, now=True)
        return pool

    def _of(self, function: Function) -> list[SizedPool]:
        return [p for p in self._pools.values() if p.function is function]

    def _prime(self, pool: SizedPool) -> None:
        if pool.force.policy != "declared":
            pool.missed = []
            self._tasks.start(self._tell_past(pool), "recorded arrivals")

    async def _tell_past(self, pool: SizedPool) -> None:
        """Let its policy know what was recorded before this controller, or this policy."""
        sizer = pool.sizer
        await self.arrivals.flush()
        record = await self.arrivals.record((pool.label, pool.digest))
        if pool.sizer is not sizer:
            return  # another policy meanwhile
        fresh = self._policy(pool.force).sizer()
        seen = {at for at, _ in pool.missed or ()}
        past = [one for one in record.arrivals[-_PAST:] if one[0] not in seen]
        past = sorted({*past, *(pool.missed or ())})
        now = self._clock()
        tell_past(fresh, past, record.service.mean_s, now)
        pool.sizer, pool.missed = fresh, None
        self._touch(pool, now=True)

    def _touch(self, pool: SizedPool, *, now: bool = False) -> None:
        """Plan it anew at the next tick, or once its time has come."""
        self._dirty[pool.function.function_id, pool.digest] = pool
        if now:
            pool.replan_at = -1.0

    # ---- plans -----------------------------------------------------------------------------

    async def run_forever(self) -> None:
        """Plan what has to be planned; until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self.tick()
            except Exception:
                log.exception("bug")  # pools go on by the plans that they have

    def tick(self) -> None:
        """Make and send the plans that are due."""
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            _, _, pool = heapq.heappop(self._due)
            if pool.again_at <= now and self._is_open(pool):
                pool.again_at = float("inf")
                self._touch(pool, now=True)
        if now - self._tidied > _TIDY_S:
            self._tidied = now
            self._tidy()
        if not self._dirty:
            return
        made = 0
        for key, pool in list(self._dirty.items()):
            if pool.replan_at > now and not self._unsent(pool):
                continue
            del self._dirty[key]
            if self._is_open(pool):
                self._replan(pool, now)
                made += 1
                if made >= _MOST_PLANS:
                    return

    def _is_open(self, pool: SizedPool) -> bool:
        return not pool.function.app.closing and (
            self._state.functions.get(pool.function.function_id) is pool.function
        )

    def _unsent(self, pool: SizedPool) -> bool:
        return any(a.agent_id not in pool.sent for a in self._state.live_agents())

    def _replan(self, pool: SizedPool, now: float) -> None:
        if not pool.function.held and not pool.function.backlog and pool.in_flight:
            pool.ended(pool.in_flight, now)  # a count that was lost with something else
        levels = self.costs.of(pool.label).levels(snapshots=_snapshots(pool))
        service_s = self.arrivals.service((pool.label, pool.digest)).mean_s
        before = pool.plan
        pool.plan = plan = pool.sizer.plan(pool.view(levels, service_s, now))
        pool.replan_at = now + REPLAN_S
        if plan.again_s is not None:
            pool.again_at = now + plan.again_s
            heapq.heappush(self._due, (pool.again_at, next(self._order), pool))
        if before is not None and before is not plan:
            log.info(
                "new plan",
                extra=kv(
                    function=pool.label,
                    params=pool.digest[:8],
                    policy=pool.force.policy,
                    why=plan.why,
                ),
            )
        self._send(pool, plan)

    def _nodes(self, pool: SizedPool) -> list[Node]:
        """The agents, the one that keeps min_containers first."""
        agents = self._state.agents
        home = pool.function.opened_on or pool.home
        if home not in agents:
            live = self._state.live_agents()
            home = live[0].agent_id if live else ""
        pool.home = home
        for gone in pool.reported.keys() - agents.keys():
            del pool.reported[gone]
            pool.sent.pop(gone, None)
        ordered = sorted(agents.values(), key=lambda a: (a.agent_id != home, a.joined))
        return [
            Node(a.agent_id, a.max_runners, _present(pool.reported.get(a.agent_id)))
            for a in ordered
        ]

    def _over_share(self, pool: SizedPool) -> bool:
        most = pool.force.settings.max_containers
        return len(self._state.agents) > 1 and not settled(most, self._nodes(pool))

    def _send(self, pool: SizedPool, plan: PoolPlan) -> None:
        nodes = self._nodes(pool)
        unused = (
            not pool.digest
            and not pool.arrivals
            and bool(self._instances.get(pool.function.function_id))
        )
        for agent_id, share in shares(plan.runners, plan.max_runners, nodes).items():
            agent = self._state.agents[agent_id]
            if not pool.digest:
                _limit(pool.function, agent_id, share)
            own = dataclasses.replace(plan, runners=share.runners, max_runners=share.most)
            text = own.to_json()
            if agent.outbox is None or pool.sent.get(agent_id) == text:
                continue
            pool.sent[agent_id] = text
            self._order_plan(agent, pool, own, every=not pool.digest)
            if unused:  # of a class with parameters: its instances have pools of their own
                nothing = dataclasses.replace(own, runners=0, buffer=0)
                self._order_plan(agent, pool, nothing, every=False)

    @staticmethod
    def _order_plan(agent: Agent, pool: SizedPool, plan: PoolPlan, *, every: bool) -> None:
        agent.send(
            pb.ControllerMessage(
                plan=pb.PlanPool(
                    function_id=pool.function.function_id,
                    params=pool.params,
                    every_instance=every,
                    plan_json=plan.to_json(),
                )
            )
        )

    def _tidy(self) -> None:
        """Forget the pools of closed apps, and agents that are gone."""
        functions, agents = self._state.functions, self._state.agents
        gone = {key[0] for key in self._pools if key[0] not in functions}
        for key in [key for key in self._pools if key[0] in gone]:
            del self._pools[key]
            self._dirty.pop(key, None)
        for function_id in gone:
            self._instances.pop(function_id, None)
            self._tasks.start(self.book.forget(function_id), "forget pool settings")
        for table in (self._start_numbers, self._eviction_numbers):
            for agent_id in [one for one in table if one not in agents]:
                del table[agent_id]

    # ---- for people ------------------------------------------------------------------------

    def report(self, function: Function) -> dict[str, Any]:
        """Settings, pools and costs of a function, for the status."""
        label = f"{function.app.name}.{function.name}"
        costs = self.costs.of(label)
        service = self.arrivals.service((label, ""))
        return {
            **self.in_force(function).report(),
            "pools": [pool.report() for pool in self._of(function)],
            **costs.report(),
            "service_ms": round(1000 * service.mean_s, 3),
            "service_p95_ms": round(1000 * service.quantile_s(0.95), 3),
        }


def _limit(function: Function, agent_id: str, share: Share) -> None:
    """For placement: an agent without a share gets no inputs."""
    if share.most is None:
        function.limits.pop(agent_id, None)
    else:
        function.limits[agent_id] = share.most


def _clock() -> Callable[[], float]:
    """Seconds since the epoch, that never run backwards while this process lives."""
    ahead = time.time() - time.monotonic()
    return lambda: ahead + time.monotonic()


def _entries(stats: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    found = stats.get(name)
    if isinstance(found, list):
        yield from (entry for entry in found if isinstance(entry, dict))


def _snapshots(pool: SizedPool) -> bool:
    return pool.function.spec.enable_memory_snapshot


def _present(entry: Mapping[str, Any] | None) -> int:
    if entry is None:
        return 0
    return sum(int(entry.get(name) or 0) for name in ("busy", "idle", "starting"))
