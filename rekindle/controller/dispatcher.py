"""Hands ready inputs to agents, straight from memory, whenever something made that possible.

Knows nothing of Redis: what it hands out is durable already, and taken from the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rekindle.controller.placement import choose_agent, choose_function
from rekindle.controller.state import Agent, Function, HeldInput, InputState, State
from rekindle.wire import rekindle_pb2 as pb


class Dispatcher:
    """The ready inputs of all functions, and their way to the agents."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._ready: dict[str, Function] = {}  # functions with ready inputs
        self._turn = 0
        #: Called with a function whose memory has room for inputs that wait on the stream.
        self.on_low: Callable[[Function], None] = lambda function: None

    def enqueue(self, item: HeldInput, *, first: bool = False) -> None:
        """Make an input ready; ``first`` for one that had its turn before."""
        function = item.call.function
        if first:
            function.ready.appendleft(item)
        else:
            function.ready.append(item)
        self._ready[function.function_id] = function

    def place_again(self, item: HeldInput) -> None:
        """Make a DELAYED or ADRIFT input ready; it goes before those that had no turn yet."""
        item.move(InputState.QUEUED)
        item.timer = None
        self.enqueue(item, first=True)

    def delay(self, item: HeldInput, wait_s: float) -> None:
        """Make a DELAYED input ready after ``wait_s`` seconds."""
        loop = asyncio.get_running_loop()
        item.timer = loop.call_later(max(0.0, wait_s), self._due, item)

    def _due(self, item: HeldInput) -> None:
        if item.state is InputState.DELAYED:
            self.place_again(item)
            self.pump()

    def forget(self, function: Function) -> None:
        """Drop a function's ready inputs (its app closed)."""
        function.ready.clear()
        self._ready.pop(function.function_id, None)

    def pump(self) -> None:
        """Assign what can be assigned now."""
        blocked: set[str] = set()
        while self._ready:
            if len(self._ready) == 1 and not blocked:
                function: Function | None = next(iter(self._ready.values()))
            else:
                function = choose_function(
                    f for f in self._ready.values() if f.function_id not in blocked
                )
            if function is None:
                return
            item = self._next(function)
            if item is None:
                continue
            agent = choose_agent(
                filter(function.may_run_on, self._state.agents.values()),
                function.function_id,
                function.max_containers,
            )
            if agent is None:
                blocked.add(function.function_id)
                continue
            function.ready.popleft()
            if not function.ready:
                del self._ready[function.function_id]
            self._assign(item, agent)
            if function.backlog and not function.taking:
                self.on_low(function)

    def _next(self, function: Function) -> HeldInput | None:
        """The function's first ready input; one that was completed meanwhile is passed over."""
        while function.ready:
            if function.ready[0].state is InputState.QUEUED:
                return function.ready[0]
            function.ready.popleft()
        self._ready.pop(function.function_id, None)
        return None

    def _assign(self, item: HeldInput, agent: Agent) -> None:
        call = item.call
        self._turn += 1
        call.function.served = self._turn
        item.move(InputState.ASSIGNED)
        agent.add(item)
        agent.send(
            pb.ControllerMessage(
                assign=pb.Assign(
                    call_id=call.call_id,
                    inputs=[pb.Input(index=item.index, method=item.method, payload=item.payload)],
                    function_id=call.function.function_id,
                    params=call.params,
                    strategy=call.strategy,
                    submitted_ns=call.submitted_ns,
                    delivery=item.lost + item.retries + 1,
                    app_id=call.function.app.app_id,
                )
            )
        )
