"""What the controller holds in memory: plain records and their states, no behaviour of services.

All of it can be lost: it is rebuilt from Redis and from what agents say when they connect.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import FunctionSpec


class InputState(Enum):
    """Where an accepted input is.

    QUEUED -> ASSIGNED -> DONE is the plain way. ASSIGNED -> ADRIFT when its agent is away, then
    back to ASSIGNED (the agent came back with it) or QUEUED (placed again). ASSIGNED -> DELAYED
    -> QUEUED is a retry. Every state may go to DONE: the first result wins.
    """

    QUEUED = auto()
    ASSIGNED = auto()
    ADRIFT = auto()
    DELAYED = auto()
    DONE = auto()


_ALLOWED = {
    InputState.QUEUED: {InputState.ASSIGNED, InputState.DONE},
    InputState.ASSIGNED: {
        InputState.ADRIFT,
        InputState.QUEUED,
        InputState.DELAYED,
        InputState.DONE,
    },
    InputState.ADRIFT: {
        InputState.ASSIGNED,
        InputState.QUEUED,
        InputState.DELAYED,
        InputState.DONE,
    },
    InputState.DELAYED: {InputState.QUEUED, InputState.DONE},
    InputState.DONE: set(),
}

InputKey = tuple[str, int]


@dataclass(slots=True, eq=False)
class HeldInput:
    """An undone input in memory."""

    call: Call
    index: int
    method: str
    payload: bytes
    entry: str
    state: InputState = InputState.QUEUED
    agent_id: str = ""
    lost: int = 0  # deliveries that were lost with a runner or an agent
    retries: int = 0  # retries after FAILURE or TIMEOUT so far
    timer: asyncio.TimerHandle | None = None  # of a DELAYED input
    stored: asyncio.Event | None = None  # for who waits until the result of a DONE one is stored

    @property
    def key(self) -> InputKey:
        """What the input is known by."""
        return (self.call.call_id, self.index)

    def move(self, state: InputState) -> None:
        """Change the state; AssertionError for a step that must not happen."""
        if state not in _ALLOWED[self.state]:
            raise AssertionError(f"input {self.key}: {self.state.name} -> {state.name}")
        self.state = state


@dataclass(slots=True, eq=False)
class Call:
    """A call that has undone inputs here, or that somebody watches."""

    call_id: str
    function: Function
    params: bytes
    strategy: str
    submitted_ns: int
    kind: str  # "invoke" | "submit"
    done: int = 0
    total: int = -1  # -1: more inputs may come
    held: int = 0
    watchers: list[ResultWatcher] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all inputs were submitted and have results."""
        return self.total >= 0 and self.done >= self.total

    @property
    def ended(self) -> bool:
        """Whether no more results can come."""
        return self.complete or self.function.app.closed.is_set()

    def counted(self, done: int, total: int) -> None:
        """Take over counts that Redis returned; replies may arrive in another order."""
        self.done = max(self.done, done)
        self.total = max(self.total, total)


@dataclass(slots=True, eq=False)
class ResultWatcher:
    """One Results stream: indexes with results that it has not fetched yet."""

    fresh: deque[tuple[int, pb.Result | None]] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True, eq=False)
class Function:
    """A function revision of an open app, with its share of the queue."""

    function_id: str
    name: str
    app: App
    spec: FunctionSpec
    ready: deque[HeldInput] = field(default_factory=deque)
    held: int = 0  # undone inputs in memory, in any state
    held_bytes: int = 0
    outstanding: int = 0  # inputs at agents
    backlog: bool = False  # inputs may wait on the stream
    taking: bool = False
    taken: asyncio.Event = field(default_factory=_set_event)  # set while not taking
    served: int = 0  # turn of its last assignment, for fairness
    mean_bytes: float = 1024.0  # of payloads, to bound what is taken at once
    opened_on: str = ""  # the agent that keeps min_containers
    #: Runners that each of its pools may have, over all agents; 0 is no limit, None as declared.
    limit: int | None = None
    #: Agent id -> its share of that, where there is a limit (scaler.py).
    limits: dict[str, int] = field(default_factory=dict)

    @property
    def max_containers(self) -> int | None:
        """Runners that each of its pools may have, as it is in force; None is no limit."""
        return self.spec.max_containers if self.limit is None else (self.limit or None)

    def may_run_on(self, agent: Agent) -> bool:
        """Whether an agent has a share of its runners at all."""
        return self.limits.get(agent.agent_id, 1) > 0


@dataclass(slots=True, eq=False)
class App:
    """An open app."""

    app_id: str
    name: str
    ephemeral: bool
    functions: dict[str, Function] = field(default_factory=dict)
    closing: bool = False
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    holders: int = 0
    grace: asyncio.TimerHandle | None = None
    accepting: int = 0  # requests whose inputs are on their way to Redis
    quiet: asyncio.Event = field(default_factory=asyncio.Event)  # set when accepting falls to 0


@dataclass(slots=True, eq=False)
class Agent:
    """A connected agent, or one whose connection broke a moment ago (``outbox`` is None)."""

    agent_id: str
    host: str
    pid: int
    local: bool  # connected over a Unix socket: its pid can be looked at
    max_runners: int
    room_total: int
    outbox: asyncio.Queue[pb.ControllerMessage | None] | None = None
    inputs: dict[InputKey, HeldInput] = field(default_factory=dict)
    by_function: dict[str, int] = field(default_factory=dict)
    known_functions: set[str] = field(default_factory=set)  # had an input or a template here
    stats: dict[str, Any] = field(default_factory=dict)
    warm_functions: frozenset[str] = frozenset()  # has a runner or template now, by heartbeat
    heard: float = field(default_factory=time.monotonic)
    joined: float = field(default_factory=time.time)
    grace: asyncio.TimerHandle | None = None
    pidfd: int = -1  # of a local agent: tells at once that the process is gone
    heartbeats: int = 0
    session: int = 0  # counts connections; an ended older one must not end a newer one

    # The view that placement takes (placement.AgentView).

    @property
    def room(self) -> int:
        """How many more inputs it may hold."""
        return 0 if self.outbox is None else self.room_total - len(self.inputs)

    @property
    def load(self) -> float:
        """Inputs per runner that it may have."""
        return len(self.inputs) / max(1, self.max_runners)

    def holds(self, function_id: str) -> int:
        """Inputs of a function that it holds."""
        return self.by_function.get(function_id, 0)

    def warmth(self, function_id: str) -> int:
        """2: has a runner or a template of the function; 1: had one; 0: never."""
        if function_id in self.warm_functions:
            return 2
        return 1 if function_id in self.known_functions else 0

    def send(self, message: pb.ControllerMessage) -> None:
        """Put a message on its stream, where it is connected."""
        if self.outbox is not None:
            self.outbox.put_nowait(message)

    def add(self, item: HeldInput) -> None:
        """Note that it holds an input."""
        function_id = item.call.function.function_id
        self.inputs[item.key] = item
        self.by_function[function_id] = self.by_function.get(function_id, 0) + 1
        self.known_functions.add(function_id)
        item.call.function.outstanding += 1
        item.agent_id = self.agent_id

    def drop(self, item: HeldInput) -> None:
        """Note that it holds an input no longer."""
        if self.inputs.pop(item.key, None) is None:
            return
        function_id = item.call.function.function_id
        left = self.by_function[function_id] - 1
        if left:
            self.by_function[function_id] = left
        else:
            del self.by_function[function_id]
        item.call.function.outstanding -= 1
        item.agent_id = ""


@dataclass(slots=True, eq=False)
class State:
    """Everything in memory."""

    instance_id: str
    apps: dict[str, App] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    inputs: dict[InputKey, HeldInput] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    waiters: dict[InputKey, list[asyncio.Future[pb.Result]]] = field(default_factory=dict)
    expected_agents: set[str] = field(default_factory=set)  # of the controller before this one
    closed_apps: deque[str] = field(default_factory=lambda: deque(maxlen=256))

    def live_agents(self) -> list[Agent]:
        """Agents whose stream stands."""
        return [agent for agent in self.agents.values() if agent.outbox is not None]
