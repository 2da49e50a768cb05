"""What agents are asked for besides running inputs: open a function, prepare, close an app."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from dataclasses import dataclass, field

from rekindle.controller.nodes.leasing import Leasing
from rekindle.controller.nodes.questions import Questions
from rekindle.controller.queue.placement import choose_agent
from rekindle.controller.settings import Settings
from rekindle.controller.state import Agent, Function, State
from rekindle.exception import NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: An agent that is well says within milliseconds that it has retired an app.
_HEARD_S = 5.0
#: How often it is looked whether an agent is still expected.
_LOOK_S = 1.0


@dataclass(eq=False)
class Orders:
    """Asks agents, and waits for their answers where there are any."""

    _state: State
    _settings: Settings
    #: What agents are asked to lend.
    leasing: Leasing
    #: Whether the instance starts an agent itself, and again when that dies.
    _own_agent: bool = False
    _joined: asyncio.Event = field(default_factory=asyncio.Event)
    _prepares: Questions[pb.PrepareReply] = field(default_factory=Questions)
    #: The answer: whether it has heard, or is gone.
    _retires: Questions[bool] = field(default_factory=Questions)
    #: The answer: whether it has closed the app, or is gone.
    _closes: Questions[bool] = field(default_factory=Questions)
    #: The answer: what is to be told.
    _pythons: Questions[str] = field(default_factory=Questions)
    #: When an agent was lost the last time, on the loop's clock.
    _lost_at: float = -math.inf

    def joined(self, agent: Agent) -> None:
        """An agent is there, or back: functions that none has opened go to it."""
        self._prepares.ask_again(agent)
        self._retires.ask_again(agent)
        self._closes.ask_again(agent)
        self._pythons.ask_again(agent)
        self.leasing.back(agent)
        self.open_unopened()
        self._joined.set()  # for those who wait at this moment
        self._joined.clear()

    def stop_runner(self, request: pb.StopRunnerRequest) -> pb.StopRunnerReply:
        """Tell the agent that has a runner, by its last heartbeat. Raises NotFoundError."""
        for agent in self._state.agents.values():
            if any(runner.id == request.runner_id for runner in agent.stats.runners):
                agent.send(pb.ControllerMessage(stop_runner=request))
                return pb.StopRunnerReply(agent_id=agent.agent_id)
        raise NotFoundError(
            f"there is no runner {request.runner_id!r}; `rekindle container list` shows all"
        )

    def lost(self, agent: Agent, reason: str) -> None:
        """An agent is gone for good: no one waits for it any longer."""
        self._lost_at = asyncio.get_running_loop().time()
        self.leasing.lost(agent)
        self._prepares.lost(agent, pb.PrepareReply(reason=reason, lost=True))
        self._retires.lost(agent, False)
        self._closes.lost(agent, False)
        self._pythons.lost(agent, "")
        self.open_unopened()

    async def close_app(self, app_id: str, *, drain: bool = False, recreate: bool = False) -> None:
        """Stop an app's runners on all agents; returns when their exit hooks have run.

        Waits ``close_grace_s`` at most: an agent that is stuck must not keep the app open.
        ``drain``: its inputs and leases end first, however long they take. ``recreate``: they do
        not, and the inputs come back from the agents, of which each has to know. So these two
        also wait for an agent that is away, until it is back and has answered, or is lost.
        """
        heard_by_all, state = drain or recreate, self._state
        away = [agent for agent in state.agents.values() if agent.outbox is None]
        agents = [*state.live_agents(), *(away if heard_by_all else ())]
        asked: dict[str, asyncio.Future[bool]] = {}
        for agent in agents:
            order = pb.CloseAppOnAgent(
                app_id=app_id, drain=drain, recreate=recreate, request_id=os.urandom(8).hex()
            )
            message = pb.ControllerMessage(close_app=order)
            asked[agent.agent_id] = self._closes.ask(agent, order.request_id, message)
        try:
            async with asyncio.timeout(None if heard_by_all else self._settings.close_grace_s):
                await asyncio.gather(*asked.values())
        except TimeoutError:
            late = [agent_id for agent_id, answer in asked.items() if answer.cancelled()]
            log.warning("runners did not stop", extra=kv(app=app_id, agents=",".join(late)))

    async def retire_app(self, app_id: str) -> None:
        """Return when no client begins a call of an app any more by the way of its agent alone.

        Waits ``_HEARD_S`` at most: an agent that is stuck must not keep a deployment open. One that
        is lost is not waited for; one that is not connected hears of it when it is back.
        """
        asked = []
        for agent in self._state.live_agents():
            order = pb.RetireApp(app_id=app_id, request_id=os.urandom(8).hex())
            message = pb.ControllerMessage(retire=order)
            asked.append(self._retires.ask(agent, order.request_id, message))
        try:
            async with asyncio.timeout(_HEARD_S):
                await asyncio.gather(*asked)
        except TimeoutError:
            log.warning("agents have not said that they retired an app", extra=kv(app=app_id))

    def app_retired(self, request_id: str) -> None:
        """An agent's answer."""
        self._retires.answered(request_id, True)

    def app_closed(self, request_id: str) -> None:
        """An agent's answer."""
        self._closes.answered(request_id, True)

    async def other_python(self, function: Function) -> str:
        """What is to be told of another Python than its program's that runs a function; "": there
        is nothing, or no agent that says so within ``_HEARD_S``."""
        live = self._state.live_agents()
        agent = self._state.agents.get(function.opened_on)
        if agent is None or agent not in live:
            agent = choose_agent(live, function.function_id, function.max_containers)
        if agent is None:
            return ""
        order = pb.TellPython(function_id=function.function_id, request_id=os.urandom(8).hex())
        agent.known_functions.add(function.function_id)
        message = pb.ControllerMessage(tell_python=order)
        try:
            async with asyncio.timeout(_HEARD_S):
                return await self._pythons.ask(agent, order.request_id, message)
        except TimeoutError:
            log.warning("agent has not said its Python", extra=kv(agent=agent.agent_id))
            return ""

    def python_told(self, told: pb.PythonTold) -> None:
        """An agent's answer."""
        self._pythons.answered(told.request_id, told.note)

    def open_unopened(self) -> None:
        for function in list(self._state.functions.values()):
            if not function.opened_on:
                self.open_function(function)

    def open_function(self, function: Function) -> None:
        """Have an agent get ready for a function: fetch its code, keep its min_containers."""
        if function.app.closing or function.app.retired:
            return
        agent = self._state.agents.get(function.opened_on)
        if agent is None or agent.outbox is None:
            agent = choose_agent(
                self._state.live_agents(),
                function.function_id,
                function.max_containers,
            )
        if agent is None:
            return  # the next agent that joins gets it
        function.opened_on = agent.agent_id
        agent.send(
            pb.ControllerMessage(
                open=pb.OpenFunction(
                    function_id=function.function_id,
                    app_id=function.app.app_id,
                    deployed=function.app.version > 0,
                )
            )
        )

    def live(self, app_id: str) -> None:
        """A version is called from now on: agents keep what its first start left; "": none is."""
        if not app_id:
            return
        for agent in self._state.live_agents():
            agent.send(pb.ControllerMessage(live=pb.AppIsLive(app_id=app_id)))

    async def prepare(
        self, function: Function, request: pb.PrepareRequest, *, ends: bool = False
    ) -> pb.PrepareReply:
        """Have an agent make a strategy possible, and wait for its word.

        ``ends``: the runner that is started for it ends then, unless its plan keeps it.

        ``ok`` is False, with the reason, when it cannot, or not within ``timeout_s`` seconds.
        """
        order = pb.PrepareOnAgent(
            request_id=os.urandom(8).hex(),
            function_id=function.function_id,
            params=request.params,
            strategy=request.strategy,
            timeout_s=request.timeout_s or 300.0,
            ends=ends,
        )
        try:
            async with asyncio.timeout(order.timeout_s + 2.0):  # the agent's own limit comes first
                agent = await self._agent_for(function)
                agent.known_functions.add(function.function_id)
                message = pb.ControllerMessage(prepare=order)
                reply = await self._prepares.ask(agent, order.request_id, message)
                # One that ends itself ends what it starts, and says so before it is gone.
                reply.lost |= bool(agent.leaving) and not reply.ok
                return reply
        except TimeoutError:
            what = f"{request.strategy!r} was not made possible within {order.timeout_s:g} s"
            if not self._state.live_agents():
                what += "; no agent is connected"
            return pb.PrepareReply(reason=what, late=True)

    async def any_agent(self) -> bool:
        """Whether an agent is connected; one that is expected is waited for.

        ``deploy_agent_s`` at most, from now or from when the last one was lost. Expected is one
        that the instance starts itself, one that was lost a moment ago, and one that may be back
        with the same process, or ends just now.
        """
        loop, patience_s = asyncio.get_running_loop(), self._settings.deploy_agent_s
        began = loop.time()
        while not self._state.live_agents():
            until = max(self._lost_at, began if self._own_agent else -math.inf) + patience_s
            known = self._state.agents or self._state.expected_agents  # each is lost or back soon
            if not known and loop.time() >= until:
                return False
            look_s = _LOOK_S if known else min(_LOOK_S, until - loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(look_s):
                    await self._joined.wait()
        return True

    async def _agent_for(self, function: Function) -> Agent:
        while not (live := self._state.live_agents()):
            await self._joined.wait()
        chosen = choose_agent(live, function.function_id, function.max_containers)
        return chosen or min(live, key=lambda agent: agent.load)

    def prepared(self, done: pb.PrepareDone) -> None:
        """An agent's answer to a request to prepare."""
        reply = pb.PrepareReply(ok=done.ok, reason=done.reason, late=done.late)
        self._prepares.answered(done.request_id, reply)
