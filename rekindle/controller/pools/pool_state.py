"""One pool as the scaler follows it: its sizer, what is in flight, what agents say, its plan.

Knows nothing of Redis, and sends nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from rekindle.controller.policies.policy import PoolView, Sizer
from rekindle.controller.pools.blocks import Arrival
from rekindle.controller.pools.pool_settings import EffectiveSettings
from rekindle.controller.state import Function
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import plan_message
from rekindle.wire.pools import Figures, Level, PoolPlan

#: A chunk that large counts as so many arrivals at once; what comes beyond changes no decision.
MOST_AT_ONCE = 512
#: Once agents have closed their pools of an instance, it is followed for so long.
REST_S = 60.0


@dataclass(slots=True, eq=False)
class PoolState:
    """A pool of a function; ``digest`` "" stands for all instances that have none of their own."""

    function: Function
    digest: str
    params: bytes
    effective: EffectiveSettings
    sizer: Sizer
    demand_at: float  # until when ``demand_s`` is counted
    in_flight: int = 0
    demand_s: float = 0.0
    arrivals: int = 0
    started: int = 0
    plan: PoolPlan | None = None
    #: Not planned again before this, unless asked for.
    replan_at: float = -math.inf
    again_at: float = math.inf
    #: Whether clients have called its runners directly since it was quiet, and when last.
    called_directly: bool = False
    last_direct: float = 0.0
    #: While its sizer is learning of the past: arrivals that come meanwhile, the newest of them.
    missed: deque[Arrival] | None = None
    #: Agent id -> what its last heartbeat reported of the pool.
    reported: dict[str, pb.HeldPool] = field(default_factory=dict)
    #: Agent id -> the plan that it was sent, and whether the pool was said to be unused.
    sent: dict[str, tuple[PoolPlan, bool]] = field(default_factory=dict)
    home: str = ""
    #: When anything happened here last.
    used_at: float = 0.0

    def __post_init__(self) -> None:
        self.used_at = self.demand_at

    @property
    def label(self) -> str:
        """As users know the function."""
        return self.function.label

    def arrived(self, count: int, now: float) -> None:
        """Inputs have come."""
        self._note(count, now)
        self._count(count, now)

    def _note(self, count: int, now: float) -> None:
        self.arrivals += count
        if self.missed is not None:
            self.missed.append((now, count))
        for _ in range(min(count, MOST_AT_ONCE)):
            self.sizer.arrived(now)

    def ended(self, count: int, now: float) -> bool:
        """Inputs have a result; whether it was the last of them."""
        before = self.in_flight
        self._count(-min(count, before), now)
        if before and not self.in_flight and not self.called_directly:
            self.sizer.quiet(now)
            return True
        return False

    def direct(self, count: int, seconds: float, now: float) -> None:
        """Inputs that went to a leased runner directly, as an agent reported."""
        self._note(count, now)
        self.used_at = now
        self.demand_s += seconds
        self.called_directly, self.last_direct = True, now

    def rested(self, since: float) -> bool:
        """Agents report nothing that runs there: a time of direct calls may be over with it."""
        if not self.called_directly or self.in_flight or self.busy:
            return False
        self.called_directly = False
        self.sizer.quiet(max(since, self.last_direct))
        return True

    def rests(self, now: float) -> bool:
        """Whether it is of an instance that no agent has a pool of, and that nobody has called for
        a while: a call opens it anew, and what was recorded of it is read again."""
        kept = self.plan is not None and self.plan.runners > 0
        return (
            bool(self.digest)
            and not (kept or self.in_flight or self.reported)
            and now - self.used_at >= REST_S
        )

    def _count(self, more: int, now: float) -> None:
        self.used_at = now
        self.demand_s += self.in_flight * max(0.0, now - self.demand_at)
        self.demand_at = now
        self.in_flight += more

    @property
    def busy(self) -> int:
        """Runners that have an input, at all agents, as these reported."""
        return sum(entry.busy for entry in self.reported.values())

    @property
    def idle(self) -> int:
        """Runners that have none."""
        return sum(entry.idle for entry in self.reported.values())

    @property
    def starting(self) -> int:
        """Runners that are being started."""
        return sum(entry.starting for entry in self.reported.values())

    def view(self, levels: Mapping[Level, Figures], service_s: float, now: float) -> PoolView:
        """As a policy sees it."""
        waiting = sum(entry.waiting for entry in self.reported.values())
        # In runners: each has so many inputs at a time.
        each = self.function.spec.aimed_inputs
        demand_s = self.demand_s + self.in_flight * max(0.0, now - self.demand_at)
        queued = max(math.ceil(waiting / each), math.ceil(self.in_flight / each) - self.busy, 0)
        return PoolView(
            now=now,
            settings=self.effective.settings,
            levels=levels,
            busy=self.busy,
            idle=self.idle,
            starting=self.starting,
            queued=queued,
            service_s=service_s / each,
            demand_s=demand_s / each,
            started=self.started,
        )

    def _reported_plan(self, plan: PoolPlan) -> PoolPlan:
        """With no more spares than some agent was asked for."""
        asked = max((own.spares for own, _unused in self.sent.values()), default=plan.spares)
        return dataclasses.replace(plan, spares=min(plan.spares, asked))

    def report(self) -> pb.PoolStatus:
        """For ``rekindle pool ls``."""
        return pb.PoolStatus(
            params=self.digest,
            instance=self.params.decode(errors="replace"),
            in_flight=self.in_flight,
            arrivals=self.arrivals,
            busy=self.busy,
            idle=self.idle,
            starting=self.starting,
            home=self.home,
            why=self.plan.why if self.plan is not None else "",
            plan=plan_message(self._reported_plan(self.plan)) if self.plan is not None else None,
            agents=[
                pb.PoolAtAgent(agent_id=agent_id, report=entry)
                for agent_id, entry in sorted(self.reported.items())
            ],
        )
