"""Leases: asks an agent to lend a client a runner, idle or started for it, and counts.

The calls on a lease go from the client to the runner; the controller sees neither them nor their
end, and a lease that stands does not need it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from rekindle.controller.nodes.gpus import able
from rekindle.controller.nodes.questions import Questions
from rekindle.controller.queue.placement import choose_agent
from rekindle.controller.settings import Settings
from rekindle.controller.state import Agent, Function, State
from rekindle.exception import ExecutionError, InvalidError
from rekindle.wire import rekindle_pb2 as pb


def why_never(function: Function) -> str:
    """Why runners of a function are lent to no client; empty where they are."""
    if function.spec.retries is not None:
        return (
            f"{function.name} has retries=, which a generator cannot have: items of a run that "
            "fails are with its caller already. Leave retries= out"
        )
    return ""


@dataclass(eq=False)
class Leasing:
    """Asks agents for leases, one answer each."""

    _state: State
    _settings: Settings
    _asked: Questions[pb.LeaseGranted] = field(default_factory=Questions)

    async def lease(self, function: Function, request: pb.LeaseRequest) -> pb.LeaseReply:
        """Have a runner lent, or say why not. Raises InvalidError for what is never lent.

        A ``patient`` client waits at the agent until there is one: what it asks for can go no other
        way. Raises ExecutionError where that is for ever.
        """
        if reason := why_never(function):
            raise InvalidError(reason)
        if function.app.closing:
            return pb.LeaseReply(reason="its app is closed")
        if (function.ready or function.backlog) and not request.patient:
            return pb.LeaseReply(reason="inputs wait for its runners")
        agent = self._choose(function)
        if agent is None and request.patient:
            agent = self._any_of_this_machine(function)
        if agent is None:
            return pb.LeaseReply(reason="no agent of this machine has room for it")
        order = pb.GrantLease(
            request_id=os.urandom(8).hex(),
            function_id=function.function_id,
            params=request.params,
            lease_id=f"le-{os.urandom(8).hex()}",
            depth=request.depth,
            max_payload_bytes=self._settings.max_payload_bytes,
            strategy=request.strategy,
            measure=request.measure,
            patient=request.patient,
        )
        # A start may take long. An agent that is lost or silent has its answer below.
        got = await self._asked.ask(agent, order.request_id, pb.ControllerMessage(lease=order))
        if not got.ok:
            failure = got.failure if got.HasField("failure") else None
            return pb.LeaseReply(reason=got.reason, failure=failure)
        return pb.LeaseReply(
            granted=True,
            lease_id=order.lease_id,
            socket=got.socket,
            token=got.token,
            runner_id=got.runner_id,
            max_payload_bytes=self._settings.max_payload_bytes,
            began=got.began if got.HasField("began") else None,
            once=got.once,
        )

    def _choose(self, function: Function) -> Agent | None:
        """The agent of this machine that most likely has a warm runner, or else room for one."""
        function_id = function.function_id
        here = [agent for agent in self._state.live_agents() if agent.local]
        local = able(here, function.spec.gpu)
        warm = [agent for agent in local if agent.warmth(function_id) > 0]
        if warm:
            return max(warm, key=lambda agent: (agent.warmth(function_id), -agent.load))
        return choose_agent(local, function_id, function.spec.max_containers)

    def _any_of_this_machine(self, function: Function) -> Agent | None:
        """An agent to wait at; None while there is none. Raises ExecutionError."""
        live = list(self._state.live_agents())
        here = [agent for agent in live if agent.local]
        if live and not here:
            raise ExecutionError(
                f"{function.name} is called for its items one by one, which come from a runner of "
                f"the caller's machine, and all agents are on others "
                f"({', '.join(sorted({agent.host for agent in live}))}): start an agent here, or "
                f"return a list"
            )
        return min(able(here, function.spec.gpu), key=lambda agent: agent.load, default=None)

    def answered(self, got: pb.LeaseGranted) -> None:
        """An agent's answer. What it lent for one that is too late, it takes back itself."""
        self._asked.answered(got.request_id, got)

    def back(self, agent: Agent) -> None:
        """Its connection broke: what it was asked, or answered, may never have arrived. Not asked
        again: it may have lent a runner, which it takes back where nobody comes for it."""
        self._asked.lost(agent, pb.LeaseGranted(reason="its agent's connection broke"))

    def lost(self, agent: Agent) -> None:
        """An agent is gone: it will not answer."""
        self._asked.lost(agent, pb.LeaseGranted(reason="its agent is gone"))
