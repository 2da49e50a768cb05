"""One input that this runner has, and what comes of it. Knows nothing of others beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rekindle.exception import FunctionTimeoutError, InputCancellation
from rekindle.runtime.runner.generators import Pack
from rekindle.runtime.runner.many.prints import Prints
from rekindle.wire.direct_stream import ItemWriter


class Answerer(Protocol):
    """Whoever gave an input takes what came of it: the agent, or a client."""

    def answer(self, runs: list[Run]) -> None:
        """Give results, of runs that have ended."""


@dataclass(frozen=True)
class Stream:
    """Where the items of an input go. ``open`` takes when it was received and loaded."""

    open: Callable[[tuple[int, int]], ItemWriter]
    pack: Pack


@dataclass(slots=True, eq=False)
class Run:
    """See the module. Times are CLOCK_REALTIME in nanoseconds."""

    slot: int
    call_id: str
    index: int
    method: str
    depth: int
    #: Gives ``(args, kwargs)``.
    load: Callable[[], Any]
    answerer: Answerer
    prints: Prints
    received_ns: int
    began_ns: int = 0
    loaded_ns: int = 0
    ended_ns: int = 0
    value: Any = None
    failure: BaseException | None = None
    #: Why it is to end: it was cancelled, or ran for too long.
    cause: InputCancellation | FunctionTimeoutError | None = None
    #: Interrupts it, while it runs.
    interrupt: Callable[[], object] | None = None
    #: Where its items go, of a generator.
    stream: Stream | None = None
    #: No other comes until it has ended.
    alone: bool = False
    #: Calls that it has made were waited for.
    called: bool = False

    @property
    def input_id(self) -> str:
        """What names it everywhere."""
        return f"{self.call_id}:{self.index}"

    @property
    def is_cancelled(self) -> bool:
        """Whether no one wants its result."""
        return isinstance(self.cause, InputCancellation)

    def settle(self) -> None:
        """Settle its outcome at its end: one that was to be ended has failed, whatever it made of
        that."""
        if self.cause is not None:
            self.value, self.failure = None, self.cause
