"""What has happened, as data: each part publishes, one place acts (wiring.py).

A part that notices something says so here, and knows nothing of who is interested. Whoever acts is
called in the event loop, for whole batches, and returns at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rekindle.controller.nodes.agentnews import News
from rekindle.controller.state import Agent, Call, Function
from rekindle.wire import rekindle_pb2 as pb


@dataclass(frozen=True, slots=True)
class FunctionOpened:
    """A function of a new app, or of one that was restored."""

    function: Function


@dataclass(frozen=True, slots=True)
class AppDeployed:
    """A deployed app has another version, or was stopped."""

    name: str
    app_id: str  # of the version that is called from now on; "": it was stopped


@dataclass(frozen=True, slots=True)
class AppForgotten:
    """An app has ended, and nothing of it is left but what is kept for its time."""


@dataclass(frozen=True, slots=True)
class InputsAccepted:
    """New inputs are durable."""

    function: Function
    count: int
    params: bytes


@dataclass(frozen=True, slots=True)
class InputsCompleted:
    """Results are stored: how many inputs ended with which status."""

    call: Call
    statuses: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class InputsRedelivered:
    """Inputs are placed again because a runner or an agent was lost."""

    call: Call
    count: int


@dataclass(frozen=True, slots=True)
class InputRetried:
    """An input runs again after a failure or a timeout, as its function asked for."""

    call: Call


@dataclass(frozen=True, slots=True)
class RoomFreed:
    """Memory may have room for inputs of a function that wait on the stream."""

    function: Function


@dataclass(frozen=True, slots=True)
class BlobsReleased:
    """Blobs of inputs that are done."""

    keys: list[str]


@dataclass(frozen=True, slots=True)
class CallOver:
    """Nothing of a call is needed any more: all of it is done, and no one will read it."""

    call_id: str
    letters: list[int]  # inputs that left dead letters


@dataclass(frozen=True, slots=True)
class CallerMissing:
    """No request waits for this call, whose results only one could take."""

    call: Call


@dataclass(frozen=True, slots=True)
class AgentJoined:
    """An agent is connected, for the first time or again."""

    agent: Agent


@dataclass(frozen=True, slots=True)
class AgentLost:
    """An agent is gone for good."""

    agent: Agent
    reason: str


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """An agent reported on itself: ``Agent.stats``."""

    agent: Agent
    news: News


@dataclass(frozen=True, slots=True)
class ResultsReceived:
    """An agent has results; they are not stored yet."""

    done: pb.Done


@dataclass(frozen=True, slots=True)
class RedisReturned:
    """Redis answers again after it was away."""


Event = (
    FunctionOpened
    | AppDeployed
    | AppForgotten
    | InputsAccepted
    | InputsCompleted
    | InputsRedelivered
    | InputRetried
    | RoomFreed
    | BlobsReleased
    | CallOver
    | CallerMissing
    | AgentJoined
    | AgentLost
    | HeartbeatReceived
    | ResultsReceived
    | RedisReturned
)
