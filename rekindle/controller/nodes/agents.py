"""Agents: joining, heartbeats, coming back after a broken connection, being given up.

An agent whose connection broke keeps its inputs for a grace time, since it goes on working and
comes back with them. Its process seen dead, or the time over, they are placed again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from rekindle.controller.core import Core
from rekindle.controller.detached import DetachedState
from rekindle.controller.events import AgentJoined, AgentLost
from rekindle.controller.logs.logbook import Logbook
from rekindle.controller.queue.redelivery import Redelivery
from rekindle.controller.state import (
    Agent,
    AssignedBatch,
    DetachedInput,
    ResultBatch,
)
from rekindle.controller.storage.agent_store import AgentStore
from rekindle.controller.storage.records import StoredAgent
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.version import PROTOCOL

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Agents:
    """The agents of this controller."""

    _core: Core
    _store: AgentStore
    _redelivery: Redelivery
    _logbook: Logbook
    _missing: asyncio.TimerHandle | None = None

    # ---- joining

    def join(self, hello: pb.AgentHello, local: bool) -> tuple[Agent, int]:
        """Take an agent in, new or back again. Returns it and the number of this connection."""
        agent = self._core.state.agents.get(hello.agent_id)
        back = agent is not None
        if agent is None:
            agent = Agent(
                agent_id=hello.agent_id,
                host=hello.host,
                pid=hello.pid,
                local=local,
                max_runners=max(1, hello.max_runners),
                room_total=max(1, hello.max_runners) + self._core.settings.agent_prefetch,
            )
            if local:
                agent.pidfd = _open_pidfd(hello.pid)
        self._stop_grace(agent)
        agent.session += 1
        session = agent.session
        if agent.outbox is not None:  # the older connection has not noticed that it is dead
            agent.outbox.put_nowait(None)
            self._forget_opened(agent)
        outbox: asyncio.Queue[pb.ControllerMessage | None] = asyncio.Queue()
        outbox.put_nowait(
            pb.ControllerMessage(
                welcome=pb.Welcome(
                    instance_id=self._core.state.instance_id,
                    protocol=PROTOCOL,
                    max_payload_bytes=self._core.settings.max_payload_bytes,
                )
            )
        )
        agent.outbox = outbox
        agent.heard = time.monotonic()
        self._core.state.agents[agent.agent_id] = agent
        if back:  # what it missed
            for app_id in self._core.state.closed_apps:
                agent.send(pb.ControllerMessage(close_app=pb.CloseAppOnAgent(app_id=app_id)))
            for app in self._core.state.apps.values():
                if app.retired:
                    agent.send(pb.ControllerMessage(retire=pb.RetireApp(app_id=app.app_id)))
                elif app.version and not app.on_trial:
                    agent.send(pb.ControllerMessage(live=pb.AppIsLive(app_id=app.app_id)))
        self._reconcile(agent, hello.in_flight)
        log.info(
            "agent joined",
            extra=kv(
                agent=agent.agent_id,
                host=agent.host,
                pid=agent.pid,
                back=back,
                in_flight=len(hello.in_flight),
            ),
        )
        self._core.state.expected_agents.discard(agent.agent_id)
        self._release_orphaned()
        self._core.publish(AgentJoined(agent))
        stored = StoredAgent(agent.agent_id, agent.host, agent.pid, agent.local)
        self._core.tasks.spawn(self._store.save(stored), "save agent")
        self._watch_silence(agent)
        return agent, session

    def _reconcile(self, agent: Agent, in_flight: Iterable[pb.InFlight]) -> None:
        """Bring what the agent says it has and what we think it has together."""
        has: dict[str, set[int]] = {}
        for one in in_flight:
            has.setdefault(one.call_id, set()).update(one.indexes)
        # The message with what it does not know was lost on the way: nothing ran, nothing counts.
        self._redelivery.never_arrived(agent, has)
        for call_id, indexes in has.items():
            call = self._core.state.calls.get(call_id)
            stop: list[int] = []
            for index in sorted(indexes):
                holder = call.undone.get(index) if call is not None else None
                if isinstance(holder, AssignedBatch | DetachedInput) and holder.agent is agent:
                    if isinstance(holder, DetachedInput) and holder.state is DetachedState.ORPHANED:
                        holder.move(DetachedState.ASSIGNED)
                elif isinstance(holder, ResultBatch):
                    pass  # its result is on the way to the store
                elif not self._redelivery.came_back(agent, holder, index):
                    stop.append(index)  # completed, cancelled, or with another agent
            if call is not None and call.cancelled:
                agent.stop(call_id, indexes, kill=call.cancelled > 1)
            elif stop:
                agent.stop(call_id, stop, kill=False)

    def _watch_silence(self, agent: Agent) -> None:
        """End the connection of an agent that sends heartbeats no more (hung, or cut off)."""
        session, limit = agent.session, self._core.settings.agent_silence_s
        loop = asyncio.get_running_loop()

        def look() -> None:
            if agent.session != session or agent.outbox is None:
                return
            silent = time.monotonic() - agent.heard
            if agent.heartbeats and silent >= limit:
                log.warning("agent is silent", extra=kv(agent=agent.agent_id, seconds=silent))
                agent.outbox.put_nowait(None)
                self.leave(agent, session)
                self._give_up(agent, f"the agent was silent for {silent:.0f} s")
                return
            loop.call_later(max(0.05, limit - silent) if agent.heartbeats else limit, look)

        loop.call_later(limit, look)

    # ---- leaving

    def leave(self, agent: Agent, session: int) -> None:
        """A connection ended. The agent may come back within the grace time."""
        if agent.session != session or agent.outbox is None:
            return  # it is back already
        agent.outbox = None
        for holding in agent.holdings:
            if isinstance(holding, DetachedInput) and holding.state is DetachedState.ASSIGNED:
                holding.move(DetachedState.ORPHANED)
        self._forget_opened(agent)
        log.log(
            logging.INFO if agent.leaving else logging.WARNING,
            "agent's connection ended",
            extra=kv(agent=agent.agent_id, pid=agent.pid, inputs=agent.count),
        )
        loop = asyncio.get_running_loop()
        agent.grace = loop.call_later(
            self._core.settings.agent_grace_s, self._give_up, agent, "the agent's connection broke"
        )
        if agent.pidfd >= 0:
            loop.add_reader(
                agent.pidfd, self._give_up, agent, f"the agent (process {agent.pid}) died"
            )

    def leaves(self, agent: Agent, reason: str, *, ended: bool) -> None:
        """An agent was told to end. It gives back what it has; with ``ended`` it has done so."""
        agent.leaving = reason or "it ended"
        self._forget_opened(agent)
        log.info("agent leaves", extra=kv(agent=agent.agent_id, ended=ended, inputs=agent.count))
        if ended and agent.outbox is not None:
            agent.outbox.put_nowait(None)  # by the stream's end it knows that this was heard
            self.leave(agent, agent.session)
            self._give_up(agent, agent.leaving)

    def _forget_opened(self, agent: Agent) -> None:
        """What was sent over a connection that ended may never have arrived."""
        for function in self._core.state.functions.values():
            if function.opened_on == agent.agent_id:
                function.opened_on = ""

    def _stop_grace(self, agent: Agent) -> None:
        if agent.grace is not None:
            agent.grace.cancel()
            agent.grace = None
            if agent.pidfd >= 0:
                asyncio.get_running_loop().remove_reader(agent.pidfd)

    def _give_up(self, agent: Agent, reason: str) -> None:
        self._stop_grace(agent)
        if agent.outbox is not None or self._core.state.agents.pop(agent.agent_id, None) is None:
            return
        if agent.pidfd >= 0:
            os.close(agent.pidfd)
            agent.pidfd = -1
        level = logging.INFO if agent.leaving else logging.WARNING
        log.log(level, "agent is gone", extra=kv(agent=agent.agent_id, reason=reason))
        self._core.publish(AgentLost(agent, reason))
        self._core.tasks.spawn(self._store.forget(agent.agent_id), "forget agent")

    # ---- after a restart of the controller

    def expect(self, agents: list[StoredAgent]) -> None:
        """Wait for the agents of the controller before this one to come back with their inputs."""
        for agent in agents:
            if agent.local and not _alive(agent.pid):
                self._core.tasks.spawn(self._store.forget(agent.agent_id), "forget agent")
            else:
                self._core.state.expected_agents.add(agent.agent_id)

    def start_waiting(self) -> None:
        """Count the time in which expected agents must be back."""
        loop = asyncio.get_running_loop()
        loop.call_later(2 * self._core.settings.agent_grace_s, self._stop_expecting)
        self._release_orphaned()

    def _stop_expecting(self) -> None:
        for agent_id in list(self._core.state.expected_agents):
            log.warning("agent did not come back", extra=kv(agent=agent_id))
            self._core.tasks.spawn(self._store.forget(agent_id), "forget agent")
        self._core.state.expected_agents.clear()
        self._release_orphaned()

    def _release_orphaned(self) -> None:
        """All expected agents are back or given up: what none of them has is placed again."""
        if self._core.state.expected_agents:
            return
        self._redelivery.release_orphaned()

    # ---- when there is none

    def missed(self) -> None:
        """Inputs wait and no agent is connected: say so in their apps' logs, if that lasts."""
        if self._missing is None:
            loop = asyncio.get_running_loop()
            self._missing = loop.call_later(self._core.settings.no_agent_s, self._still_missed)

    def _still_missed(self) -> None:
        self._missing = None
        if self._core.state.live_agents():
            return
        log.warning("inputs wait and no agent is connected")
        for app in self._core.state.apps.values():
            if any(function.ready or function.backlog for function in app.functions.values()):
                self._logbook.say(
                    app.app_id,
                    "no agent is connected: inputs wait for one (the agent's log, "
                    "logs/agent.log in the instance directory, may say why)",
                )


def _open_pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid) if pid > 0 else -1
    except OSError:  # in another PID namespace, or gone already
        return -1


def _alive(pid: int) -> bool:
    pidfd = _open_pidfd(pid)
    if pidfd < 0:
        return False
    os.close(pidfd)
    return True
