"""Leases: asks an agent to lend a client a runner, idle or started for it, and counts.

The calls on a lease go from the client to the runner; the controller sees neither them nor their
end, and a lease that stands does not need it.
"""

from __future__ import annotations

import asyncio
import os

from rekindle.controller.queue.placement import choose_agent
from rekindle.controller.settings import Settings
from rekindle.controller.state import Agent, Function, State
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb


def why_never(function: Function) -> str:
    """Why runners of a function are lent to no client; empty where they are."""
    if function.spec.retries is not None:
        return f"{function.name} has retries: its calls go through the controller"
    if function.spec.single_use_containers:
        return f"{function.name} has a runner for each input: none can be leased"
    return ""


class Leasing:
    """Asks agents for leases, one answer each."""

    def __init__(self, state: State, settings: Settings) -> None:
        self._state = state
        self._settings = settings
        self._asked: dict[str, tuple[str, asyncio.Future[pb.LeaseGranted]]] = {}
        #: Since this controller started.
        self.granted = 0
        self.refused = 0

    async def lease(self, function: Function, request: pb.LeaseRequest) -> pb.LeaseReply:
        """Have a runner lent, or say why not. Raises InvalidError for what is never lent."""
        if reason := why_never(function):
            raise InvalidError(reason)
        if function.app.closing:
            return self._refuse("its app is closed")
        if function.ready or function.backlog:
            return self._refuse("inputs wait for its runners")
        agent = self._choose(function)
        if agent is None:
            return self._refuse("no agent of this machine has room for it")
        request_id = os.urandom(8).hex()
        lease_id = f"le-{os.urandom(8).hex()}"
        answer: asyncio.Future[pb.LeaseGranted] = asyncio.get_running_loop().create_future()
        self._asked[request_id] = (agent.agent_id, answer)
        try:
            agent.send(
                pb.ControllerMessage(
                    lease=pb.GrantLease(
                        request_id=request_id,
                        function_id=function.function_id,
                        params=request.params,
                        lease_id=lease_id,
                        depth=request.depth,
                        max_payload_bytes=self._settings.max_payload_bytes,
                    )
                )
            )
            # A start may take long. An agent that is lost or silent has its answer below.
            got = await answer
        finally:
            self._asked.pop(request_id, None)
        if not got.ok:
            reply = self._refuse(got.reason)
            if got.HasField("failure"):
                reply.failure.CopyFrom(got.failure)
            return reply
        self.granted += 1
        return pb.LeaseReply(
            granted=True,
            lease_id=lease_id,
            socket=got.socket,
            token=got.token,
            runner_id=got.runner_id,
            max_payload_bytes=self._settings.max_payload_bytes,
            began=got.began if got.HasField("began") else None,
        )

    def _refuse(self, reason: str) -> pb.LeaseReply:
        self.refused += 1
        return pb.LeaseReply(granted=False, reason=reason)

    def _choose(self, function: Function) -> Agent | None:
        """The agent of this machine that most likely has a warm runner, or else room for one."""
        function_id = function.function_id
        local = [agent for agent in self._state.live_agents() if agent.local]
        warm = [agent for agent in local if agent.warmth(function_id) > 0]
        if warm:
            return max(warm, key=lambda agent: (agent.warmth(function_id), -agent.load))
        return choose_agent(local, function_id, function.spec.max_containers)

    def answered(self, got: pb.LeaseGranted) -> None:
        """An agent's word. One that comes too late is dropped: the agent takes it back itself."""
        asked = self._asked.get(got.request_id)
        if asked is not None and not asked[1].done():
            asked[1].set_result(got)

    def lost(self, agent_id: str) -> None:
        """An agent is gone: it will not answer."""
        for request_id, (asked, answer) in self._asked.items():
            if asked == agent_id and not answer.done():
                answer.set_result(
                    pb.LeaseGranted(request_id=request_id, ok=False, reason="its agent is gone")
                )
