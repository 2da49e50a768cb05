"""Clients that want a runner of their own, and wait for it.

A request is served by the next pass of its pool: by a runner that is idle, by one that is started
for it, or by a refusal; what is refused goes by the queue. Who asked, and how the answer gets
there, a request does not show.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rekindle.runtime.agent.pools.agenda import PoolKey
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy, now_ns

#: Why a client gets no runner of a version that is not the one that is called any more.
NEWER_VERSION = "its app has a newer version"
APP_CLOSED = "its app is closed"


@dataclass(frozen=True, slots=True, eq=False)
class LeaseRequest:
    """A client that wants a runner."""

    lease_id: str
    #: How many calls its calls are made inside of.
    depth: int
    #: What results may have at most.
    max_result_bytes: int
    #: Told what is granted; None: its runner has its connection, and tells it.
    answer: Callable[[pb.LeaseGranted | None], None]
    #: How its runner is to be started; None for any, or an idle one.
    strategy: Strategy | None = None
    #: Whether the memory that it holds afterwards is asked for, with a strategy.
    measure: bool = False
    #: Its connection, which may go to a runner with its start; None for one of another machine.
    sock: socket.socket | None = None
    #: Whether it has sent its first call already.
    sent: bool = False
    #: It is not refused, however long it waits: what it is for can go no other way.
    patient: bool = False
    received_ns: int = field(default_factory=now_ns)
    received_at: float = field(default_factory=time.monotonic)

    def refuse(self, reason: str) -> None:
        """No lease."""
        self.answer(pb.LeaseGranted(reason=reason))


class Requests:
    """Requests that wait, by pool, oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[PoolKey, deque[LeaseRequest]] = {}

    def add(self, key: PoolKey, request: LeaseRequest) -> None:
        """Have a request wait."""
        self._waiting.setdefault(key, deque()).append(request)

    def of(self, key: PoolKey) -> deque[LeaseRequest]:
        """The requests of a pool."""
        return self._waiting.get(key) or deque()

    def refuse_beyond(self, key: PoolKey, most: int, reason: str) -> int:
        """Refuse all but the first ``most``, and but those that are patient; how many those are."""
        waiting = self.of(key)
        late = [one for one in list(waiting)[max(0, most) :] if not one.patient]
        for one in late:
            self.remove(key, one)
            one.refuse(reason)
        return len(late)

    def refuse_pool(self, key: PoolKey, reason: str) -> None:
        """Refuse all of a pool, those that are patient, too."""
        for one in self._waiting.pop(key, ()):
            one.refuse(reason)

    def remove(self, key: PoolKey, request: LeaseRequest) -> None:
        """Have a request wait no more."""
        waiting = self.of(key)
        if request in waiting:
            waiting.remove(request)
        if not waiting:
            self._waiting.pop(key, None)

    def patient(self, key: PoolKey) -> list[LeaseRequest]:
        """The requests of a pool that wait until they have a runner."""
        waiting = self._waiting.get(key)
        return [one for one in waiting if one.patient] if waiting else []

    def refuse_all(self, reason: str) -> None:
        """Refuse every one."""
        for key in list(self._waiting):
            self.refuse_pool(key, reason)


def start_of(request: LeaseRequest, runner: Runner) -> pb.RunnerBegan | None:
    """The start of a runner, for the first one that waited for it."""
    if runner.handed or runner.lent > 1 or request.received_ns > runner.ready_ns:
        return None
    runner.output.drain()
    return pb.RunnerBegan(
        strategy=runner.strategy.value,
        began_ns=runner.began_ns,
        marks=[pb.PhaseMark(phase=name, at_ns=at_ns) for name, at_ns in runner.marks],
        notes=runner.notes,
        printed=runner.output.lines > 0,
    )
