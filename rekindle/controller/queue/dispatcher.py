"""Hands ready inputs to agents, straight from memory, whenever something made that possible.

Inputs of one entry that go to one agent travel in one message. Knows nothing of Redis: what it
hands out is durable already, and taken from the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from rekindle.controller.core import Core
from rekindle.controller.detached import DetachedState
from rekindle.controller.events import RoomFreed
from rekindle.controller.nodes.gpus import able
from rekindle.controller.queue.placement import (
    AHEAD_NS,
    Turns,
    choose_agent,
    has_enough,
    portion,
    weight,
)
from rekindle.controller.queue.table import InputTable
from rekindle.controller.state import (
    Agent,
    AssignedBatch,
    DetachedInput,
    Function,
    Holding,
    QueuedBatch,
)
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import FunctionSpec


@dataclass(eq=False)
class Dispatcher:
    """The way of ready inputs to the agents, and of delayed ones to being ready."""

    _core: Core
    _table: InputTable
    _turn: int = 0

    # ---- later

    def requeue(self, item: DetachedInput) -> None:
        """Make a DELAYED or ORPHANED input ready; it goes before those that had no turn yet.

        Not one that lost runners again and again: others would wait for each start that it costs.
        The first loss may have been another's doing, and waits for nothing here.
        """
        self.forget_timer(item)
        item.move(DetachedState.QUEUED)
        self._table.enqueue(item, first=item.killed < 2)

    def delay(self, item: DetachedInput, wait_s: float) -> None:
        """Make a DELAYED input ready after ``wait_s`` seconds."""
        loop = asyncio.get_running_loop()
        item.timer = loop.call_later(max(0.0, wait_s), self._due, item)
        item.call.function.delayed += 1

    def forget_timer(self, item: DetachedInput) -> None:
        """The input waits for its time no longer."""
        if item.timer is not None:
            item.timer.cancel()
            item.timer = None
            item.call.function.delayed -= 1

    def _due(self, item: DetachedInput) -> None:
        if item.state is DetachedState.DELAYED:
            self.requeue(item)
            self.pump()

    # ---- now

    def pump(self) -> None:
        """Assign what can be assigned now."""
        table = self._table
        rooms = Rooms(self._core.state.agents.values())
        turns = Turns(table.ready.values() if rooms.has_any(0) else table.nested_ready())
        messages: dict[tuple[Agent, QueuedBatch], AssignedBatch] = {}
        filling: set[tuple[str, str]] = set()
        while (function := turns.next()) is not None:
            work = table.next_ready(function)
            if work is None:
                continue
            most, depth = function.max_containers, work.entry.call.depth
            if not rooms.has_any(depth):
                continue
            agents = self._core.state.agents.values()
            agent = choose_agent(
                [
                    one
                    for one in able(agents, function.spec.gpu)
                    if _takes(one, function, depth, filling)
                ],
                function.function_id,
                most,
                each_ns(function.spec, function.mean_ns),
                depth,
            )
            if agent is None:  # nor for those behind it: the deepest are in front
                continue
            filling.add((agent.agent_id, function.function_id))
            self._turn += 1
            function.served = self._turn
            if isinstance(work, QueuedBatch):
                mean_ns = each_ns(function.spec, function.mean_ns)
                count = portion(agent, function.function_id, most, mean_ns, depth)
                share = weight(agent.max_runners, most, mean_ns)
                part = messages.get((agent, work))
                messages[agent, work] = table.assign(work, count, agent, share, part)
            else:
                function.ready.popleft()
                table.assign_detached(work, agent)
                self._send(agent, work, [work.input], work.delivery)
            rooms.changed()
            turns.again(function)
            if function.backlog and not function.loading:
                self._core.publish(RoomFreed(function))
        for (agent, _), part in messages.items():
            self._send(agent, part, list(part.out.values()), 1)

    def _send(self, agent: Agent, holding: Holding, inputs: list[pb.Input], delivery: int) -> None:
        call = holding.entry.call
        function = call.function
        agent.send(
            pb.ControllerMessage(
                assign=pb.Assign(
                    call_id=call.call_id,
                    inputs=inputs,
                    function_id=function.function_id,
                    params=call.params,
                    strategy=call.strategy,
                    submitted_ns=call.submitted_ns,
                    delivery=delivery,
                    app_id=function.app.app_id,
                    depth=call.depth,
                    suspect=isinstance(holding, DetachedInput) and holding.killed > 0,
                    others_wait=function.backlog or self._table.next_ready(function) is not None,
                )
            )
        )


class Rooms:
    """Whether any agent has room, by the depth of what is to be placed.

    Asked once for all functions that wait, not for each of them.
    """

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._agents = agents
        self._any: dict[int, bool] = {}

    def has_any(self, depth: int) -> bool:
        """At this depth."""
        if depth not in self._any:
            self._any[depth] = any(one.room(depth) > 0 for one in self._agents)
        return self._any[depth]

    def changed(self) -> None:
        """An agent has got something."""
        self._any.clear()


def _takes(agent: Agent, function: Function, depth: int, filling: set[tuple[str, str]]) -> bool:
    """Whether an agent may get inputs of a function: it has too few, or is being filled up."""
    function_id = function.function_id
    if not function.may_run_on(agent.agent_id):
        return False
    if (agent.agent_id, function_id) in filling:
        return True
    mean_ns = each_ns(function.spec, function.mean_ns)
    return not has_enough(agent, function_id, function.max_containers, mean_ns, depth)


def each_ns(spec: FunctionSpec, mean_ns: float) -> float:
    """What an input takes of a runner's time, 0 where that is not known; ``mean_ns``: its own.

    Where runners have several at a time it is a part of that, and never so much that an agent would
    get fewer than its runners can have.
    """
    if not spec.takes_many:
        return mean_ns
    most_ns = AHEAD_NS / spec.most_inputs
    return min(mean_ns / spec.aimed_inputs, most_ns) if mean_ns else most_ns
