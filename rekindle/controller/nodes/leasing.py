"""Leases: asks an agent to lend a client one of its idle runners.

The calls on a lease go from the client to the runner; the controller sees neither them nor their
end, and a lease that stands does not need it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field

from rekindle.controller.nodes.questions import Questions
from rekindle.controller.settings import Settings
from rekindle.controller.state import Agent, Function, State
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: An agent answers at once; a client that waits could have had its call run meanwhile.
_ANSWER_S = 2.0


@dataclass(eq=False)
class Leasing:
    """Asks agents for leases, one answer each."""

    _state: State
    _settings: Settings
    _asked: Questions[pb.LeaseGranted] = field(default_factory=Questions)

    async def lease(self, function: Function, request: pb.LeaseRequest) -> pb.LeaseReply:
        """Have a runner lent, or say why not. Raises InvalidError for what is never lent."""
        if function.spec.retries is not None:
            raise InvalidError(f"{function.name} has retries: its calls go through the controller")
        if function.spec.single_use_containers:
            raise InvalidError(f"{function.name} has a runner for each input: none can be leased")
        if function.app.closing:
            return pb.LeaseReply(reason="its app is closed")
        if function.ready or function.backlog:
            return pb.LeaseReply(reason="inputs wait for its runners")
        agent = self._choose(function.function_id)
        if agent is None:
            return pb.LeaseReply(reason="no agent has a runner of it")
        order = pb.GrantLease(
            request_id=os.urandom(8).hex(),
            function_id=function.function_id,
            params=request.params,
            lease_id=f"le-{os.urandom(8).hex()}",
            depth=request.depth,
            max_payload_bytes=self._settings.max_payload_bytes,
        )
        try:
            async with asyncio.timeout(_ANSWER_S):
                got = await self._asked.ask(
                    agent, order.request_id, pb.ControllerMessage(lease=order)
                )
        except TimeoutError:
            log.warning("no answer to a lease", extra=kv(agent=agent.agent_id))
            return pb.LeaseReply(reason="the agent did not answer")
        if not got.ok:
            return pb.LeaseReply(reason=got.reason)
        return pb.LeaseReply(
            granted=True,
            lease_id=order.lease_id,
            socket=got.socket,
            token=got.token,
            runner_id=got.runner_id,
            max_payload_bytes=self._settings.max_payload_bytes,
        )

    def _choose(self, function_id: str) -> Agent | None:
        """The agent of this machine that most likely has a warm runner."""
        known = [
            agent
            for agent in self._state.live_agents()
            if agent.local and agent.warmth(function_id) > 0
        ]
        return max(known, key=lambda agent: (agent.warmth(function_id), -agent.load), default=None)

    def answered(self, got: pb.LeaseGranted) -> None:
        """An agent's answer. What it lent for one that is too late, it takes back itself."""
        self._asked.answered(got.request_id, got)

    def lost(self, agent: Agent) -> None:
        """An agent is gone: it will not answer."""
        self._asked.lost(agent, pb.LeaseGranted(reason="its agent is gone"))
