"""The messages of agents: each goes to the part that it is for."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from rekindle.controller.core import Core
from rekindle.controller.events import HeartbeatReceived, ResultsReceived
from rekindle.controller.logs.logbook import Logbook
from rekindle.controller.nodes.agentnews import news_of
from rekindle.controller.nodes.agents import Agents
from rekindle.controller.nodes.orders import Orders
from rekindle.controller.queue.nested import NestedCallBook
from rekindle.controller.queue.reaper import Reaper
from rekindle.controller.queue.redelivery import Redelivery
from rekindle.controller.queue.result_intake import ResultIntake
from rekindle.controller.state import Agent
from rekindle.controller.storage.damage import Damage
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


@dataclass(eq=False)
class AgentInbox:
    """Takes what agents say."""

    _core: Core
    _agents: Agents
    _results: ResultIntake
    _redelivery: Redelivery
    _reaper: Reaper
    _orders: Orders
    _logbook: Logbook
    _nested: NestedCallBook
    _damage: Damage

    def heard(self, agent: Agent, message: pb.AgentMessage) -> None:
        """One message of an agent's stream."""
        agent.heard = time.monotonic()
        kind = message.WhichOneof("kind")
        if kind == "done":
            self._core.publish(ResultsReceived(message.done))
            log_seq = self._logbook.seq(self._app_of(message.done))
            self._results.done(agent, message.done, log_seq)
        elif kind == "log":
            self._logbook.add(message.log)
        elif kind == "heartbeat":
            beat = message.heartbeat
            self._heartbeat(agent, beat.stats)
            self._reaper.renew(agent, beat.in_flight, lists=beat.lists_in_flight)
        elif kind == "returned":
            self._redelivery.returned(agent, message.returned)
        elif kind == "prepared":
            self._orders.prepared(message.prepared)
        elif kind == "lease":
            self._orders.leasing.answered(message.lease)
        elif kind == "nested":
            self._nested.ended(message.nested.calls)
        elif kind == "leaves":
            self._agents.leaves(agent, message.leaves.reason, ended=message.leaves.ended)
        elif kind == "retired":
            self._orders.app_retired(message.retired.request_id)
        elif kind == "python_told":
            self._orders.python_told(message.python_told)
        elif kind == "app_closed":
            self._orders.app_closed(message.app_closed.request_id)
        else:
            log.warning("unknown message", extra=kv(agent=agent.agent_id, kind=kind))

    def _app_of(self, done: pb.Done) -> str:
        if done.app_id:
            return done.app_id
        call = self._core.state.calls.get(done.call_id)
        return call.function.app.app_id if call is not None else ""

    def _heartbeat(self, agent: Agent, stats: pb.NodeStats) -> None:
        agent.heartbeats += 1
        news = news_of(agent, stats)
        agent.stats = stats
        self._core.publish(HeartbeatReceived(agent, news))
        entries: list[pb.RunnerStats | pb.PoolStats] = [*stats.runners, *stats.pools]
        agent.warm_functions = frozenset(entry.function_id for entry in entries)
        # What runs of an app that cannot be read goes on until it is known whether it is open.
        damaged = {one.record.name for one in self._damage.of("app")}
        known = self._core.state.apps.keys() | damaged | {""}
        for app_id in {entry.app_id for entry in entries} - known:
            agent.send(pb.ControllerMessage(close_app=pb.CloseAppOnAgent(app_id=app_id)))
