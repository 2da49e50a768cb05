"""Hands ready inputs to agents, straight from memory, whenever something made that possible.

Inputs of one entry that go to one agent travel in one order. Knows nothing of Redis: what it hands
out is durable already, and taken from the stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from rekindle.controller.queue.events import Events
from rekindle.controller.queue.inputs import (
    AssignedBatch,
    DetachedInput,
    DetachedState,
    QueuedBatch,
    QueueEntry,
)
from rekindle.controller.queue.placement import (
    choose_agent,
    choose_function,
    has_enough,
    portion,
    weight,
)
from rekindle.controller.state import Agent, AgentAt, Function, State
from rekindle.wire import rekindle_pb2 as pb


class Dispatcher:
    """The ready inputs of all functions, and their way to the agents."""

    def __init__(self, state: State, events: Events, lease_margin_s: float) -> None:
        self._state = state
        self._events = events
        self._lease_margin_s = lease_margin_s
        self._ready: dict[str, Function] = {}  # functions with ready inputs
        self._turn = 0
        #: Called with a function whose memory has room for inputs that wait on the stream.
        self.on_low: Callable[[Function], None] = lambda function: None

    # ---- what is ready

    def enqueue(self, work: QueuedBatch | DetachedInput, *, first: bool = False) -> None:
        """Make inputs ready; ``first`` for those that had their turn before."""
        function = work.entry.call.function
        if isinstance(work, QueuedBatch):
            work.entry.call.undone.update(dict.fromkeys([i.index for i in work.inputs], work))
        at = _front(function.ready, work) if first else _place(function.ready, work)
        function.ready.insert(at, work)
        self._ready[function.function_id] = function

    def place_again(self, item: DetachedInput) -> None:
        """Make a DELAYED or ORPHANED input ready; it goes before those that had no turn yet.

        Not one that lost runners again and again: others would wait for each start that it costs.
        The first loss may have been another's doing, and waits for nothing here.
        """
        self.forget_timer(item)
        item.move(DetachedState.QUEUED)
        self.enqueue(item, first=item.killed < 2)

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
            self.place_again(item)
            self.pump()

    def forget(self, function: Function) -> None:
        """Drop a function's ready inputs (its app closed)."""
        function.ready.clear()
        self._ready.pop(function.function_id, None)

    # ---- to the agents

    def pump(self) -> None:
        """Assign what can be assigned now."""
        blocked: set[str] = set()
        orders: dict[tuple[Agent, int], tuple[QueuedBatch, AssignedBatch]] = {}
        filling: set[tuple[str, str]] = set()
        while self._ready:
            if len(self._ready) == 1 and not blocked:
                function: Function | None = next(iter(self._ready.values()))
            else:
                function = choose_function(
                    f for f in self._ready.values() if f.function_id not in blocked
                )
            if function is None:
                break
            work = self._next(function)
            if work is None:
                continue
            most, depth = function.max_containers, work.entry.call.depth
            seen = [one.at(depth) for one in self._state.agents.values()]
            chosen = choose_agent(
                [one for one in seen if _takes(one, function, filling)],
                function.function_id,
                most,
                function.mean_ns,
            )
            if chosen is None:  # nor for those behind it: the deepest are in front
                blocked.add(function.function_id)
                continue
            agent = chosen.agent if isinstance(chosen, AgentAt) else chosen
            filling.add((agent.agent_id, function.function_id))
            self._turn += 1
            function.served = self._turn
            if isinstance(work, QueuedBatch):
                count = portion(chosen, function.function_id, most, function.mean_ns)
                self._deal(orders, function, work, agent, count)
            else:
                function.ready.popleft()
                self._assign_lone(agent, work)
            if function.backlog and not function.loading:
                self.on_low(function)
        for (agent, _), (lot, part) in orders.items():
            self._assign(agent, lot, part)

    def _next(self, function: Function) -> QueuedBatch | DetachedInput | None:
        """The function's first ready work; what was completed meanwhile is passed over."""
        while function.ready:
            work = function.ready[0]
            if work.inputs if isinstance(work, QueuedBatch) else work.state is DetachedState.QUEUED:
                return work
            function.ready.popleft()
        self._ready.pop(function.function_id, None)
        return None

    def _deal(
        self,
        orders: dict[tuple[Agent, int], tuple[QueuedBatch, AssignedBatch]],
        function: Function,
        lot: QueuedBatch,
        agent: Agent,
        count: int,
    ) -> None:
        """Move inputs of a lot to what an agent is going to get."""
        inputs = lot.inputs[:count]
        del lot.inputs[:count]
        each = weight(agent.max_runners, function.max_containers, function.mean_ns)
        key = (agent, id(lot))
        found = orders.get(key)
        if found is None:
            part = AssignedBatch(lot.entry, agent, {}, weight=each, ambiguous=lot.ambiguous)
            orders[key] = (lot, part)
        else:
            part = found[1]
        for item in inputs:
            part.out[item.index] = item
        agent.add(function, len(inputs), part.weight, lot.entry.call.depth)

    def _assign(self, agent: Agent, lot: QueuedBatch, part: AssignedBatch) -> None:
        call = part.entry.call
        part.leased_until = self.lease(call.function)
        agent.holdings[part] = None
        call.undone.update(dict.fromkeys(part.out, part))
        self._send(agent, part, list(part.out.values()), lot.delivery)

    def _assign_lone(self, agent: Agent, item: DetachedInput) -> None:
        self.give(agent, item)
        self._send(agent, item, [item.input], item.delivery)

    def give(self, agent: Agent, item: DetachedInput) -> None:
        """Note that an agent has an input."""
        function = item.call.function
        item.move(DetachedState.ASSIGNED)
        item.agent = agent
        item.leased_until = self.lease(function)
        agent.holdings[item] = None
        agent.add(function, 1, 1.0, item.call.depth)

    def slice_of(self, agent: Agent, entry: QueueEntry) -> AssignedBatch:
        """What an agent that came back has of an entry."""
        for holding in agent.holdings:
            if isinstance(holding, AssignedBatch) and holding.entry is entry:
                return holding
        part = AssignedBatch(
            entry, agent, {}, weight=1.0, leased_until=self.lease(entry.call.function)
        )
        agent.holdings[part] = None
        return part

    def _send(
        self,
        agent: Agent,
        holding: AssignedBatch | DetachedInput,
        inputs: list[pb.Input],
        delivery: int,
    ) -> None:
        call = holding.entry.call
        agent.send(
            pb.ControllerMessage(
                assign=pb.Assign(
                    call_id=call.call_id,
                    inputs=inputs,
                    function_id=call.function.function_id,
                    params=call.params,
                    strategy=call.strategy,
                    submitted_ns=call.submitted_ns,
                    delivery=delivery,
                    app_id=call.function.app.app_id,
                    depth=call.depth,
                    suspect=isinstance(holding, DetachedInput) and holding.killed > 0,
                )
            )
        )
        for listener in self._events.assigned:
            listener(call, agent, len(inputs))

    def lease(self, function: Function) -> float:
        """Until when, on the loop's clock, an agent may have an input without naming it."""
        spec = function.spec
        length = spec.startup_timeout_s + spec.timeout_s + self._lease_margin_s
        return asyncio.get_running_loop().time() + length

    # ---- from the agents

    def take_back(self, part: AssignedBatch, index: int) -> pb.Input:
        """Take an input out of a slice, wherever that is."""
        item = part.out.pop(index)
        agent = part.agent
        if agent is not None:
            call = part.entry.call
            agent.drop(call.function, 1, part.weight, call.depth)
            if not part.out:
                agent.holdings.pop(part, None)
        return item

    def take_back_lone(self, item: DetachedInput) -> None:
        """Note that no agent has an input any more."""
        agent = item.agent
        if agent is not None:
            item.agent = None
            agent.holdings.pop(item, None)
            agent.drop(item.call.function, 1, 1.0, item.call.depth)


def _takes(agent: Agent | AgentAt, function: Function, filling: set[tuple[str, str]]) -> bool:
    """Whether an agent may get inputs of a function: it has too few, or is being filled up."""
    if not function.may_run_on(agent.agent_id):
        return False
    if (agent.agent_id, function.function_id) in filling:
        return True
    return not has_enough(agent, function.function_id, function.max_containers, function.mean_ns)


def _place(ready: deque[QueuedBatch | DetachedInput], work: QueuedBatch | DetachedInput) -> int:
    """Where new work goes: behind all others, but for later requests of its call that overtook.

    And for work that is less deep: runners wait for what is made inside of their inputs.
    """
    at, depth = len(ready), work.entry.call.depth
    while at and ready[at - 1].entry.call.depth < depth:
        at -= 1
    if isinstance(work, QueuedBatch):
        while at and _overtook(ready[at - 1], work):
            at -= 1
    return at


def _front(ready: deque[QueuedBatch | DetachedInput], work: QueuedBatch | DetachedInput) -> int:
    """Where work goes that had its turn before: before all others that are not deeper."""
    depth = work.entry.call.depth
    at = 0
    while at < len(ready) and ready[at].entry.call.depth > depth:
        at += 1
    return at


def _overtook(other: QueuedBatch | DetachedInput, work: QueuedBatch) -> bool:
    return (
        isinstance(other, QueuedBatch)
        and other.entry.call is work.entry.call
        and bool(other.inputs)
        and other.inputs[0].index > work.inputs[0].index
    )
