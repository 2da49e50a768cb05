"""What is read back from the store, as plain data. Knows nothing of Redis."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoredFunction:
    """A function as a restarted controller needs it; code and secrets stay in the store."""

    function_id: str
    name: str
    spec_json: str


@dataclass(frozen=True, slots=True)
class StoredApp:
    """An app with its functions."""

    app_id: str
    name: str
    ephemeral: bool
    closed: bool
    functions: tuple[StoredFunction, ...]


@dataclass(frozen=True, slots=True)
class FunctionCode:
    """What an agent fetches once: code, secrets and source bundle."""

    app_id: str
    name: str
    spec_json: str
    code: bytes
    secrets: dict[str, str] = field(repr=False)
    source_digest: str
    source: bytes


@dataclass(frozen=True, slots=True)
class StoredAgent:
    """An agent that was connected when the controller ended."""

    agent_id: str
    host: str
    pid: int
    local: bool


@dataclass(frozen=True, slots=True)
class QueuedEntry:
    """One entry of a function's queue."""

    entry: str
    call_id: str
    index: int
    method: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class InputProgress:
    """What is kept of an undone input besides its entry on the queue."""

    entry: str
    lost: int
    retries: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class CallMeta:
    """A call without its inputs."""

    app_id: str
    params: bytes
    strategy: str
    submitted_ns: int
    kind: str
    accepted: int
    done: int
    total: int


NEW, PENDING, HAS_RESULT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The answer of ``accept``: for each input NEW, PENDING or HAS_RESULT, and its entry."""

    taken: bool
    accepted: int
    done: int
    total: int
    inputs: list[tuple[int, str]]


STORED, DUPLICATE, UNKNOWN = 1, 0, -1


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer of ``complete``: STORED, DUPLICATE or UNKNOWN, and the call's counts."""

    outcome: int
    done: int
    total: int
