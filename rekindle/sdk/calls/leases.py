"""Direct calls: which runners of a function this process leases, and when it asks for more.

A lease (lease.py) is kept for the next caller; which functions have any, and when they are let go,
is lease_caches.py's to know. What becomes of a call that could not be made directly,
calls/invoke.py decides.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import TYPE_CHECKING

from rekindle import lazily, paths
from rekindle.exception import Error
from rekindle.linux.arrivals import Arrivals
from rekindle.sdk.calls import records
from rekindle.sdk.calls.lease import Fate, Lease, fate_of
from rekindle.sdk.calls.until_readable import until_readable
from rekindle.wire.frames import pack_frame
from rekindle.wire.granted import granted, read_granted
from rekindle.wire.usercode import came_by_signal

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.wire import rekindle_pb2 as pb
else:
    pb = lazily.module("rekindle.wire.rekindle_pb2")

#: After a refusal no lease is asked for, for this long; doubled up to the maximum.
_PAUSE_S, _PAUSE_MAX_S = 0.02, 1.0
#: A controller that cannot lease this function, or answers at all: look again after this long.
_NEVER_S = 30.0
#: With more parameters than this it is the controller that is asked.
_MOST_PARAMS_BYTES = 1024
#: Each request takes a descriptor until it is served: more calls than this wait at the controller.
_MOST_ASKING = 256


class LostError(Exception):
    """A runner that was being started ended, and may have begun the call."""

    def __init__(self, fate: Fate) -> None:
        super().__init__(fate.message)
        self.fate = fate


class NoRunnerError(Exception):
    """No runner could be started for the call: what it comes to."""

    def __init__(self, result: pb.Result) -> None:
        super().__init__(result.message)
        self.result = result


@dataclass(slots=True, eq=False, weakref_slot=True)
class LeaseCache:
    """One function (and parameters) of one instance: its idle leases, and when to ask for more."""

    client: Client
    function_id: str
    params: bytes
    #: Whether its runners are of just this version of a deployed app.
    pinned: bool = False
    #: To be called before another lease is asked for: there may be too many of other functions.
    make_room: Callable[[], None] = lambda: None
    #: What the agent is asked for: of a deployed app the newer version, once it is known.
    _asked_id: str = ""
    #: Where the agent of this machine listens, once it was asked.
    _path: str = ""
    #: Used from several threads: only what happens at once (append, pop, remove) is done with it.
    idle: list[Lease] = field(default_factory=list)
    #: When the last call by it was begun.
    used_ns: int = 0
    #: No leases are kept: calls that are on their way give theirs back to the agent.
    dropped: bool = False
    _ask_at: float = 0.0
    _ask_node_at: float = 0.0
    _pause_s: float = _PAUSE_S
    #: Whether the app has ended in this process: calls that are on their way are given up.
    ended: bool = False

    def take(self) -> Lease | None:
        """An idle lease."""
        try:
            return self.idle.pop()
        except IndexError:
            return None

    def give_back(self, lease: Lease) -> None:
        """Keep a lease for the next caller, or end one that was for a single call."""
        if lease.once:
            lease.close()
            return
        idle = self.idle
        if idle:
            self._look_at_oldest()
        idle.append(lease)
        if self.dropped:  # in this order: whoever drops it lets go of what is there afterwards
            self.let_go()

    def let_go(self) -> None:
        """End the leases that are idle."""
        while (lease := self.take()) is not None:
            lease.close()

    def let_go_of_ended(self) -> None:
        """Close what their agent has taken back while nobody called; none that a call has."""
        for lease in list(self.idle):
            if lease.is_over():
                try:
                    self.idle.remove(lease)
                except ValueError:
                    continue  # a call has just taken it, and sees that for itself
                lease.close()

    def _look_at_oldest(self) -> None:
        """Let go of a lease that fewer callers than before have left unused, once it is over."""
        try:
            oldest = self.idle.pop(0)
        except IndexError:
            return
        if oldest.is_over():
            oldest.close()
        else:
            self.idle.insert(0, oldest)

    def refused(self) -> None:
        """No lease for a while."""
        self._ask_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)

    async def ask_node(
        self,
        depth: int = 0,
        strategy: str = "",
        call: Callable[[], bytes] = bytes,
        *,
        blocks: bool = True,
        patient: bool = False,
    ) -> Lease | None:
        """Ask the agent of this machine; the connection becomes that to the runner.

        ``call``: gives the frame of a call that is sent along, or nothing; where it gave one, and a
        lease is returned, the runner has it, and its answer is there. ``blocks``: the thread waits
        for the answer, which can take as long as a start; otherwise its event loop does.
        ``patient``: it waits for a runner however long others have them all. None where there is no
        agent that knows the function: the controller is to be asked. Raises NoRunnerError as
        ``ask``, and LostError where a runner may have begun the call that was sent along.
        """
        asked_id = self._asked_id or self.function_id
        token = self.client.node_tokens.get(asked_id, "")
        if (
            not token
            or len(self.params) > _MOST_PARAMS_BYTES
            or time.monotonic() < self._ask_node_at
            or len(_asking) >= _MOST_ASKING
        ):
            return None
        self.make_room()
        if not self._path:
            self._path = str(paths.direct_socket(self.client.instance))
        path = self._path
        sock, sent, lease_id = None, False, ""
        asking = object()
        try:
            _asking.add(asking)
            if len(_asking) == 1:  # of many at once it would have to wait for all their words
                sock = _connected(path)  # its agent wakes up while the rest is made
            lease_id = f"le-{os.urandom(8).hex()}"
            frame = call()
            ask = {
                "ask": asked_id,
                "lease": lease_id,
                "params": self.params.hex(),
                "depth": depth,
                "token": token,
                "strategy": strategy,
                "measure": _to_measure(strategy),
                "sent": bool(frame),
                "patient": patient,
            }
            sock = _say(sock, path, pack_frame(ask) + frame)
            sent = bool(frame)
            arrivals = None
            if blocks:
                arrivals = Arrivals(sock.fileno())
                arrivals.wait(perf_counter_ns())  # a start may take minutes
            else:
                await until_readable(sock.fileno())
            header, body, came, came_fd = read_granted(sock)
            failure = _failure(body, self.function_id) if body else None
        except OSError as error:  # a FrameError is one too
            if sock is not None:
                sock.close()
            if came_by_signal(error):
                raise
            fate = fate_of(lease_id, token, path) if sent else None
            if fate is not None and fate.kind != "unknown":
                raise LostError(fate) from None
            self._ask_node_at = time.monotonic() + _NEVER_S
            return None
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        finally:
            _asking.discard(asking)
        if header["ok"]:
            self._pause_s = _PAUSE_S
            lease = Lease(sock, granted(header), arrivals, came, came_fd)
            lease.has_call = sent
            return lease
        sock.close()
        if failure is not None:
            raise NoRunnerError(failure)
        self.refused()
        return None

    def may_ask(self) -> bool:
        """Whether it is time to ask the controller for a lease."""
        return time.monotonic() >= self._ask_at

    async def ask(
        self, depth: int = 0, strategy: str = "", *, patient: bool = False
    ) -> Lease | None:
        """Ask for a lease, for calls at this depth; runs on the background thread.

        ``patient``: as of ``ask_node``; what the controller refuses for good is raised then.
        Raises NoRunnerError where a runner was to be started for it, and could not be.
        """
        self.make_room()
        try:
            reply = await self.client.lease(
                *(self.function_id, self.params, depth, strategy),
                measure=_to_measure(strategy),
                patient=patient,
                pinned=self.pinned,
            )
        except Error:
            if patient:
                raise
            # A function that cannot be leased, or no controller: it all works without.
            self._ask_at = time.monotonic() + _NEVER_S
            return None
        if reply.HasField("moved"):
            from rekindle.sdk import lookups

            lookups.forget(self.client, self.function_id)
            self._asked_id, self._ask_node_at = reply.moved.function_id, 0.0
            self.client.know(self._asked_id, reply.moved.node_token)
        if reply.HasField("failure"):
            raise NoRunnerError(reply.failure)
        if not reply.granted:
            self.refused()
            return None
        try:
            lease = await Lease.take_up(reply)
        except OSError:
            self.refused()  # another machine's, or an agent that just went
            return None
        self._pause_s = _PAUSE_S
        return lease


def _to_measure(strategy: str) -> bool:
    """Whether the record of a call will say what memory its runner holds."""
    return bool(strategy) and records.collecting()


#: One for each request of this process that an agent is asked now, in all threads.
_asking: set[object] = set()


def _connected(path: str) -> socket.socket:
    """A connection to the agent there. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _say(sock: socket.socket | None, path: str, frame: bytes) -> socket.socket:
    """Say it at once on a new connection, or on one that waits for it already. Raises OSError."""
    if sock is not None:
        try:
            sock.sendall(frame, socket.MSG_NOSIGNAL)
            return sock
        except OSError as error:
            sock.close()  # its agent waits only so long for a word: arguments took long to pickle
            if came_by_signal(error):
                raise
    sock = _connected(path)
    try:
        sock.sendall(frame, socket.MSG_NOSIGNAL)
    except BaseException:
        sock.close()
        raise
    return sock


os.register_at_fork(after_in_child=_asking.clear)


def _failure(body: bytes, function_id: str) -> pb.Result:
    """Why there is no runner. Raises InternalFailure."""
    from rekindle.wire.messages import read_result

    return read_result(body, f"a direct call of {function_id}")
