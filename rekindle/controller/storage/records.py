"""What is read back from the store, as plain data. Knows nothing of Redis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rekindle.wire.spec import FunctionSpec


@dataclass(frozen=True, slots=True)
class StoredApp:
    """An app with its functions, by id, as a restarted controller needs it; code stays behind."""

    app_id: str
    name: str
    ephemeral: bool
    closed: bool
    functions: dict[str, FunctionSpec]
    version: int = 0  # of a deployed app
    detached: bool = False


@dataclass(frozen=True, slots=True)
class FunctionOwner:
    """Whose a function is, also when its app is put away."""

    app_id: str
    app: str
    function: str
    version: int  # 0: its app is not deployed
    variant: StoredVariant | None = None  # where it is one


@dataclass(frozen=True, slots=True)
class StoredVariant:
    """What a variant was made from: of another version it can be made again."""

    of: str  # id of the function that it is of, which may be a variant, too
    fields: tuple[str, ...]  # those that differ
    spec: FunctionSpec  # has them, as they were asked for
    replaces_secrets: bool

    def to_json(self) -> str:
        """As it is stored."""
        kept = {"of": self.of, "fields": self.fields, "spec": self.spec.to_json()}
        return json.dumps({**kept, "replaces_secrets": self.replaces_secrets}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> StoredVariant:
        """The inverse of ``to_json``."""
        raw = json.loads(text)
        spec = FunctionSpec.from_json(raw["spec"])
        return cls(raw["of"], tuple(raw["fields"]), spec, raw["replaces_secrets"])


@dataclass(frozen=True, slots=True)
class StoredAgent:
    """An agent that was connected when the controller ended."""

    agent_id: str
    host: str
    pid: int
    local: bool


@dataclass(frozen=True, slots=True)
class InputProgress:
    """What is kept of an undone input that had a bad time."""

    lost: int
    retries: int
    ambiguous: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class CallMeta:
    """A call without its inputs. ``cancelled``: 0, 1, or 2 when its runners are to end."""

    app_id: str
    params: bytes
    strategy: str
    submitted_ns: int
    kind: str
    accepted: int = 0
    done: int = 0
    total: int = -1
    batches: int = 0
    cancelled: int = 0
    depth: int = 0  # known where a request is at hand


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One entry of a function's queue: a chunk of a call's inputs.

    ``request`` is a serialized SubmitRequest, of whose inputs ``indexes`` count. ``meta`` is None
    when the call is gone.
    """

    entry: str
    call_id: str
    request: bytes
    indexes: list[int]
    done: frozenset[int]
    progress: dict[int, InputProgress]
    meta: CallMeta | None
    damage: str = ""  # why nothing but ``entry`` and ``call_id`` can be read of it


@dataclass(frozen=True, slots=True)
class UndoneCount:
    """How many inputs of a function are undone, after so many changes of that number.

    Replies of Redis may be read in another order than it wrote them; ``change`` tells the newest.
    """

    undone: int
    change: int


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The answer of ``accept``."""

    full: bool  # over the limit of undone inputs; nothing was changed
    taken: bool  # the new inputs are ours; otherwise they wait on the stream
    undone: UndoneCount
    accepted: int  # of the call
    done: int
    total: int
    batches: int
    cancelled: int
    entry: str  # of the new inputs; "" when there are none
    new: list[int]
    pending: list[int]  # accepted before and not done
    over: int  # accepted before and done


#: What becomes of a result: stored; there was one; no such input; its entry has to be given.
STORED, DUPLICATE, UNKNOWN, UNDONE = 1, 0, -1, -2


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer of ``complete``: counts of the call, and each index that was not STORED."""

    done: int
    total: int
    batches: int
    batch: int  # the number of this one; 0 where nothing was stored or no one asks for the order
    undone: UndoneCount
    over: bool  # nothing of the call is needed any more: no one will read it
    letters: list[int]  # of such a call: inputs that left dead letters
    others: dict[int, int]


#: What its only reader has of a call: these results; all of it; all of it, as no more can come.
SOME, WHOLE, ENDED = "some", "whole", "ended"
#: What has become of such a call: nothing of it is needed; it goes on; it has other readers; it
#: is not known.
OVER, GOES_ON, OTHERS, NOT_KNOWN = 1, 0, -1, -2


@dataclass(frozen=True, slots=True)
class Taking:
    """What of a call was taken: SOME, WHOLE or ENDED."""

    function_id: str
    call_id: str
    what: str
    indexes: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the call: OVER, GOES_ON, OTHERS or NOT_KNOWN."""

    state: int
    letters: list[int]  # where it is over: inputs that left dead letters


@dataclass(frozen=True, slots=True)
class CallIndex:
    """Where a submitted call belongs."""

    function_id: str
    app: str
    function: str


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter: a serialized DeadLetter and the request that brings its input back."""

    entry: str
    letter: bytes
    request: bytes
