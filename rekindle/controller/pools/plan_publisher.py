"""Hands a pool's plan to the agents, each with its share of what is kept and what there may be."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rekindle.controller.pools.pool_state import PoolState
from rekindle.controller.pools.quota import AgentCapacity, Share, settled, shares
from rekindle.controller.state import Agent, Function, State
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import plan_message
from rekindle.wire.pools import PoolPlan


@dataclass(eq=False)
class PlanPublisher:
    """Knows which agent was sent what."""

    _state: State

    def send(self, pool: PoolState, plan: PoolPlan, *, has_instances: bool) -> None:
        """Send each agent what is new for it.

        ``has_instances``: the function is a class with parameters, whose instances have pools of
        their own; the one without parameters is used by no one then.
        """
        unused = not pool.digest and not pool.arrivals and has_instances
        for agent_id, share in shares(plan.runners, plan.max_runners, self._nodes(pool)).items():
            agent = self._state.agents[agent_id]
            if not pool.digest:
                _limit(pool.function, agent_id, share)
            # A spare becomes a runner: no node has a use for more than it may have runners.
            may_have = agent.max_runners if share.most is None else share.most
            spares = min(plan.spares, may_have)
            own = dataclasses.replace(
                plan, runners=share.runners, max_runners=share.most, spares=spares
            )
            if agent.outbox is None or pool.sent.get(agent_id) == (own, unused):
                continue
            pool.sent[agent_id] = own, unused
            _order(agent, pool, own, every=not pool.digest)
            if unused:
                idle = dataclasses.replace(own, runners=0, buffer=0, spares=0, ahead=False)
                _order(agent, pool, idle, every=False)

    def withdraw(self, pool: PoolState) -> bool:
        """Have agents forget the plan of an instance: it follows that of every one from now on.

        False where one that was sent it is away, and would not hear of it.
        """
        agents = [self._state.agents[one] for one in pool.sent if one in self._state.agents]
        if any(agent.outbox is None for agent in agents):
            return False
        for agent in agents:
            order = pb.FollowPlan(function_id=pool.function.function_id, params=pool.params)
            agent.send(pb.ControllerMessage(plan=order))
        return True

    def over_share(self, pool: PoolState) -> bool:
        """Whether some agent has more runners than its share, so that others wait for theirs."""
        most = pool.effective.settings.max_containers
        return len(self._state.agents) > 1 and not settled(most, self._nodes(pool))

    def _nodes(self, pool: PoolState) -> list[AgentCapacity]:
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
            AgentCapacity(a.agent_id, a.max_runners, _present(pool.reported.get(a.agent_id)))
            for a in ordered
        ]


def _order(agent: Agent, pool: PoolState, plan: PoolPlan, *, every: bool) -> None:
    agent.send(
        pb.ControllerMessage(
            plan=pb.FollowPlan(
                function_id=pool.function.function_id,
                params=pool.params,
                every_instance=every,
                plan=plan_message(plan),
            )
        )
    )


def _limit(function: Function, agent_id: str, share: Share) -> None:
    """For placement: an agent without a share gets no inputs."""
    if share.most is None:
        function.limits.pop(agent_id, None)
    else:
        function.limits[agent_id] = share.most


def _present(held: pb.HeldPool | None) -> int:
    return held.busy + held.idle + held.starting if held is not None else 0
