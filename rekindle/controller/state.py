"""What the controller holds in memory: plain records and their states, no behaviour of services.

All of it can be lost: it is rebuilt from Redis and from what agents report when they connect.

The shapes of an undone input. Inputs travel in batches while nothing is special about them. A
``QueueEntry`` is one entry of the queue: a chunk of a call's inputs. They wait in a
``QueuedBatch``, are at an agent in an ``AssignedBatch``, and are in a ``ResultBatch`` while their
results are being stored. An input that was lost with its runner, is to be retried, or was
cancelled leaves its batch and travels alone from then on, as a ``DetachedInput`` with states of
its own. ``Call.undone`` has for each index where it is; queue/table.py moves them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from rekindle.controller.detached import DetachedState
from rekindle.controller.queue.result_watcher import ResultWatcher
from rekindle.controller.queue.tombstones import Tombstones
from rekindle.controller.storage.records import CallIndex, UndoneCount
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import FunctionSpec

InputKey = tuple[str, int]

#: Weight of the newest input in what inputs take: of what was known before, a tenth is left after
#: eight others. An agent gets few of inputs that are taken for long ones.
_NEWEST = 1 / 4


@dataclass(slots=True, eq=False)
class QueueEntry:
    """An entry of the queue with inputs that are undone."""

    call: Call
    entry: str
    left: int  # inputs without a stored result
    size: int  # bytes


@dataclass(slots=True, eq=False)
class QueuedBatch:
    """Inputs of an entry that wait for an agent, in their order."""

    entry: QueueEntry
    inputs: list[pb.Input]
    ambiguous: int = 0  # how often they were with an agent that was lost, whoever was to blame

    def drop(self, index: int) -> pb.Input:
        """Take one out."""
        for at, item in enumerate(self.inputs):
            if item.index == index:
                return self.inputs.pop(at)
        raise KeyError(index)


@dataclass(slots=True, eq=False)
class AssignedBatch:
    """Inputs of an entry that are at an agent, or were when the controller ended."""

    entry: QueueEntry
    agent: Agent | None  # None: no agent has them (yet), after a restart
    out: dict[int, pb.Input]
    weight: float = 0.0  # share of an agent's room that one of them takes
    ambiguous: int = 0
    leased_until: float = 0.0  # on the loop's clock
    listed: frozenset[int] | set[int] = frozenset()  # what the agent last said that it has

    @property
    def indexes(self) -> list[int]:
        """Which inputs of the call these are, oldest first."""
        return list(self.out)


@dataclass(slots=True, eq=False)
class DetachedInput:
    """An input that travels alone."""

    entry: QueueEntry
    input: pb.Input
    state: DetachedState
    agent: Agent | None = None
    lost: int = 0  # deliveries that were lost with its runner
    killed: int = 0  # those of them in which the runner died, and not its agent
    ambiguous: int = 0  # times that its agent was lost while it may or may not have run
    retries: int = 0  # retries after FAILURE or TIMEOUT so far
    kept: bool = False  # whether Redis knows of these
    timer: asyncio.TimerHandle | None = None  # of a DELAYED one
    leased_until: float = 0.0

    @property
    def call(self) -> Call:
        """The call that it is of."""
        return self.entry.call

    @property
    def index(self) -> int:
        """Its place in the call."""
        return self.input.index

    @property
    def indexes(self) -> list[int]:
        """As of an AssignedBatch."""
        return [self.input.index]

    @property
    def delivery(self) -> int:
        """The number of its next delivery, or of the one under way; 1 is the first."""
        return self.lost + self.retries + 1

    def move(self, state: DetachedState) -> None:
        """Change the state; AssertionError for a step that must not happen."""
        if not self.state.may_become(state):
            step = f"{self.state.name} -> {state.name}"
            raise AssertionError(f"input {self.index} of {self.call.call_id}: {step}")
        self.state = state


@dataclass(slots=True, eq=False)
class ResultBatch:
    """Results of a call on their way to the store."""

    call: Call
    groups: dict[QueueEntry, list[tuple[int, bytes]]] = field(default_factory=dict)
    count: int = 0
    size: int = 0
    statuses: dict[int, int] = field(default_factory=dict)  # how many ended how
    kept: list[int] = field(default_factory=list)  # those with progress in Redis
    letters: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    blobs: list[str] = field(default_factory=list)  # of inputs, which are not needed any more
    acks: list[tuple[Agent, list[int]]] = field(default_factory=list)


#: What waits for an agent.
Ready = QueuedBatch | DetachedInput
#: What an agent has.
Holding = AssignedBatch | DetachedInput
#: What has no result yet.
Pending = QueuedBatch | AssignedBatch | DetachedInput
#: Where an undone input is.
Holder = Pending | ResultBatch


@dataclass(slots=True, eq=False)
class Call:
    """A call that has undone inputs here, or that someone watches."""

    call_id: str
    function: Function
    params: bytes
    strategy: str
    submitted_ns: int
    kind: str  # "invoke" | "map" | "submit"; results of the first two have one reader
    accepted: int = 0
    done: int = 0
    total: int = -1  # -1: more inputs may come
    batches: int = 0  # batches of results so far, numbered from 1
    cancelled: int = 0  # 2: and its runners are to end
    depth: int = 0  # how many calls it was made inside of
    lost: int = 0  # runners that its caller lost under it before it was queued
    undone: dict[int, Holder] = field(default_factory=dict)  # those in memory
    held: int = 0  # who else needs the call in memory
    watchers: list[ResultWatcher] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all inputs were submitted and have results."""
        return self.total >= 0 and self.done >= self.total

    @property
    def ended(self) -> bool:
        """Whether no more results can come."""
        return self.complete or self.function.app.closed.is_set()

    def counted(self, done: int, total: int, batches: int) -> None:
        """Take over counts that Redis returned; replies may arrive in another order."""
        self.done = max(self.done, done)
        self.total = max(self.total, total)
        self.batches = max(self.batches, batches)

    def wake_watchers(self) -> None:
        """Let the call's Results streams look."""
        for watcher in self.watchers:
            watcher.wake.set()


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
    ready: deque[QueuedBatch | DetachedInput] = field(default_factory=deque)
    entries: dict[str, QueueEntry] = field(default_factory=dict)  # in memory, by their ids
    tombstones: Tombstones = field(default_factory=Tombstones)
    _count: UndoneCount = field(default_factory=lambda: UndoneCount(0, 0))
    held: int = 0  # undone inputs in memory, wherever they are
    held_bytes: int = 0
    coming: int = 0  # inputs that are being accepted, and will be held
    coming_bytes: int = 0
    delayed: int = 0  # inputs that wait for their time
    waiting: int = 0  # requests that wait for their result
    outstanding: int = 0  # inputs at agents
    units: float = 0.0  # the same in shares of agents' room
    mean_ns: float = 0.0  # what an input takes; 0: not known yet
    backlog: bool = False  # inputs may wait on the stream
    loading: bool = False
    loaded: asyncio.Event = field(default_factory=_set_event)  # set while not loading
    served: int = 0  # turn of its last assignment, for fairness
    opened_on: str = ""  # the agent that keeps min_containers
    #: Runners that each of its pools may have, over all agents; 0 is no limit, None as declared.
    limit: int | None = None
    #: Agent id -> its share of that, where there is a limit (scaler.py).
    limits: dict[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """As users know it, whichever run of the app it is of."""
        return f"{self.app.name}.{self.name}"

    @property
    def index(self) -> CallIndex:
        """Where its calls belong, also when it is gone."""
        return CallIndex(self.function_id, self.app.name, self.name)

    @property
    def undone(self) -> int:
        """Inputs that are accepted and not done, on the stream or here, as Redis last said."""
        return self._count.undone

    def counted(self, count: UndoneCount) -> None:
        """Take over what a reply of Redis says is undone, unless a newer one was read before."""
        if count.change >= self._count.change:
            self._count = count

    def count_again(self) -> None:
        """Redis was away and may have lost changes: what it says from now on counts."""
        self._count = UndoneCount(self._count.undone, 0)

    def learn(self, count: int, execute_ns: int) -> None:
        """Note what inputs took to run."""
        if execute_ns <= 0:
            return
        each = execute_ns / count
        if not self.mean_ns:
            self.mean_ns = each
        else:
            # As if each had come alone: how many travel together says nothing of them.
            self.mean_ns += (each - self.mean_ns) * (1 - (1 - _NEWEST) ** count)

    @property
    def max_containers(self) -> int | None:
        """Runners that each of its pools may have, as it is in force; None is no limit."""
        return self.spec.max_containers if self.limit is None else (self.limit or None)

    def may_run_on(self, agent_id: str) -> bool:
        """Whether an agent has a share of its runners at all."""
        return self.limits.get(agent_id, 1) > 0


@dataclass(slots=True, eq=False)
class App:
    """An open app."""

    app_id: str
    name: str
    ephemeral: bool
    functions: dict[str, Function] = field(default_factory=dict)
    closing: bool = False
    closed: asyncio.Event = field(default_factory=asyncio.Event)  # its runners have stopped
    being_closed: asyncio.Lock = field(default_factory=asyncio.Lock)
    holders: int = 0
    detached: bool = False  # ephemeral; closed when nobody holds it and nothing of it is undone
    version: int = 0  # of a deployed app
    #: There is a newer version, or its app is stopped: it takes calls only of who asks for it.
    retired: bool = False
    #: A version that is not switched to yet: agents make no snapshots of it.
    on_trial: bool = False
    visits: int = 0  # requests for its functions that are being handled
    grace: asyncio.TimerHandle | None = None
    accepting: int = 0  # requests whose inputs are on their way to Redis
    quiet: asyncio.Event = field(default_factory=asyncio.Event)  # set when accepting falls to 0


@dataclass(slots=True)
class Seen:
    """How far an agent's heartbeats have been read (agentnews.py)."""

    start: int = 0
    eviction: int = 0


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
    holdings: dict[Holding, None] = field(default_factory=dict)  # oldest first
    count: int = 0  # inputs that it has
    units: float = 0.0  # the room that they take
    #: Function id -> depth -> inputs and units that it has.
    nested: dict[str, dict[int, tuple[int, float]]] = field(default_factory=dict)
    known_functions: set[str] = field(default_factory=set)  # had an input or a template here
    stats: pb.NodeStats = field(default_factory=pb.NodeStats)
    seen: Seen = field(default_factory=Seen)
    warm_functions: frozenset[str] = frozenset()  # has a runner or template now, by heartbeat
    heard: float = field(default_factory=time.monotonic)
    joined: float = field(default_factory=time.time)
    grace: asyncio.TimerHandle | None = None
    pidfd: int = -1  # of a local agent: readable as soon as the process is gone
    heartbeats: int = 0
    #: Why it ends, from when it says so: it is given nothing more, and loses nothing by its end.
    leaving: str = ""
    session: int = 0  # counts connections; an ended older one must not end a newer one

    # The view that placement takes (placement.AgentView).

    @property
    def load(self) -> float:
        """Room that is taken, per runner that it may have."""
        return self.units / max(1, self.max_runners)

    def room(self, depth: int = 0) -> float:
        """How many more inputs it may hold at a depth, of a function whose inputs take long."""
        if self.outbox is None or self.leaving:
            return 0.0
        taken = self.units
        if depth:
            taken = sum(
                units
                for depths in self.nested.values()
                for at, (_, units) in depths.items()
                if at >= depth
            )
        return self.room_total - taken

    def holds(self, function_id: str, depth: int = 0) -> int:
        """Inputs of a function that it holds, at a depth and below."""
        # A loop: placement asks for each agent, at every message.
        held = 0
        for at, (count, _) in self.nested.get(function_id, {}).items():
            if at >= depth:
                held += count
        return held

    def warmth(self, function_id: str) -> int:
        """2: has a runner or a template of the function; 1: had one; 0: never."""
        if function_id in self.warm_functions:
            return 2
        return 1 if function_id in self.known_functions else 0

    def send(self, message: pb.ControllerMessage) -> None:
        """Put a message on its stream, where it is connected."""
        if self.outbox is not None:
            self.outbox.put_nowait(message)

    def acknowledge(self, call_id: str, indexes: Iterable[int]) -> None:
        """Results of these inputs are stored, or not wanted."""
        self.send(pb.ControllerMessage(ack=pb.AckDone(call_id=call_id, indexes=indexes)))

    def stop(self, call_id: str, indexes: Iterable[int], *, kill: bool) -> None:
        """Have it drop inputs, and with ``kill`` end the runners that have them."""
        order = pb.CancelInputs(call_id=call_id, indexes=indexes, kill=kill)
        self.send(pb.ControllerMessage(cancel=order))


@dataclass(slots=True, eq=False)
class State:
    """Everything in memory."""

    instance_id: str
    apps: dict[str, App] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    waiters: dict[InputKey, list[asyncio.Future[bytes]]] = field(default_factory=dict)
    expected_agents: set[str] = field(default_factory=set)  # of the controller before this one
    accepting_bytes: int = 0  # of requests that are on their way to Redis
    closed_apps: deque[str] = field(default_factory=lambda: deque(maxlen=256))

    def live_agents(self) -> list[Agent]:
        """Agents whose stream stands, and that do not end."""
        agents = self.agents.values()
        return [agent for agent in agents if agent.outbox is not None and not agent.leaving]
