"""Clients of this machine: they ask for a runner at the agent's socket, and are told there.

What they are told is a lease, whose connection is the one that they asked on (wire/granted.py).
A client that was granted a lease by way of the controller takes it up here, and whoever lost one
asks here what became of it. Which runner it is, others decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
import socket
from collections.abc import Callable, Container, Coroutine
from pathlib import Path
from typing import Any

from rekindle import paths
from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import Error
from rekindle.runtime.agent.leases.first_clients import FirstClients, terms
from rekindle.runtime.agent.leases.lease import Lease, LeaseState
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.leases.requests import NEWER_VERSION, LeaseRequest
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.recent import Recent
from rekindle.runtime.agent.runners.listener import UnixListener
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.direct_frames import WELCOME
from rekindle.wire.frames import Header, pack_frame
from rekindle.wire.granted import Began
from rekindle.wire.logs import kv
from rekindle.wire.node_token import node_token
from rekindle.wire.phases import Strategy

log = logging.getLogger(__name__)

#: The tokens of so many apps are kept; others are made again.
_APPS = 256
_ID = re.compile("le-[0-9a-f]{16}")


class LocalClients:
    """See the module."""

    def __init__(
        self,
        leases: Leases,
        first_clients: FirstClients,
        find_pool: Callable[[str, bytes], Pool | None],
        open_pool: Callable[[str, bytes], Coroutine[Any, Any, Pool]],
        instance: Path,
        retired: Container[str],
        pass_on: Callable[[socket.socket, str], None],
        act: Callable[[], object],
    ) -> None:
        """``retired``: ids of apps whose runners no client gets without the controller's word.
        ``pass_on``: takes a connection for requests to the controller, and its token.
        ``act``: has pools act on what they were asked for."""
        self._retired = retired
        self._pass_on = pass_on
        self._leases = leases
        self._first_clients = first_clients
        #: One that is open; one that is opened where it must be.
        self._find_pool, self._open_pool = find_pool, open_pool
        self._instance = instance
        self._token = ""
        #: App id -> what its clients show, of the newest apps.
        self._tokens: Recent[str, str] = Recent(_APPS)
        self._listener = UnixListener(leases.path, self._greet, act)
        self._tasks = BackgroundTasks()

    def listen(self) -> None:
        """From now on; does nothing where it does."""
        self._listener.open()

    async def close(self) -> None:
        """No more clients; those that wait are refused with their pools."""
        await self._listener.close()
        await self._tasks.cancel()

    def _greet(self, sock: socket.socket, hello: Header) -> bool:
        if "fate" in hello:
            self._tasks.spawn(self._tell_fate(sock, hello))
            return True
        if "requests" in hello:
            self._pass_on(sock, str(hello.get("token")))
            return True
        if "ask" in hello:
            try:
                self._asked(sock, hello)
            except KeyError as error:
                raise ValueError(f"an ask without {error}") from error
            return True
        return self._take_up(sock, hello)

    def _asked(self, sock: socket.socket, hello: Header) -> None:
        """A client of this machine asks for a runner: its connection becomes the runner's."""
        function_id, params = str(hello["ask"]), bytes.fromhex(hello["params"])
        asked, token = str(hello["strategy"]), str(hello["token"])
        request = LeaseRequest(
            self._new_id(str(hello["lease"])),
            int(hello["depth"]),
            self._leases.max_payload_bytes,
            lambda granted: self._answer(sock, request, granted),
            Strategy(asked) if asked else None,
            bool(hello["measure"]),
            sock,
            bool(hello["sent"]),
            bool(hello.get("patient")),
        )
        pool = self._find_pool(function_id, params)
        if pool is None:
            self._tasks.spawn(self._open_for(function_id, params, request, token))
        else:
            self._add_own(pool, request, token)

    async def _open_for(
        self, function_id: str, params: bytes, request: LeaseRequest, token: str
    ) -> None:
        assert request.sock is not None
        try:
            pool = await self._open_pool(function_id, params)
        except Error as error:
            log.warning("not lent", extra=kv(reason=error))
            request.sock.close()
            return
        except asyncio.CancelledError:
            request.sock.close()
            raise
        self._add_own(pool, request, token)

    def _add_own(self, pool: Pool, request: LeaseRequest, token: str) -> None:
        """Serve a request of this machine, where it is of the function's app."""
        assert request.sock is not None
        if not hmac.compare_digest(self._token_of(pool.app_id), token):
            log.warning("unexpected client")
            request.sock.close()
            return
        asked_for = request.strategy not in (None, Strategy.WARM)
        if pool.app_id in self._retired:
            request.refuse(NEWER_VERSION)
        elif not asked_for or pool.closed or pool.revision.spec.takes_many:
            self._leases.add(pool, request)
        else:
            pool.starts.begin(self._first_clients.of(pool, request), request.strategy)

    def _answer(
        self, sock: socket.socket, request: LeaseRequest, granted: pb.LeaseGranted | None
    ) -> None:
        """Tell a client of this machine, and give its connection to its runner."""
        if granted is None:
            return  # that has it already, or it is closed
        lease = self._leases.find(request.lease_id) if granted.ok else None
        if lease is None:  # what a start failed with may be large
            sock.setblocking(False)
            body = granted.failure.SerializeToString() if granted.HasField("failure") else b""
            self._tasks.spawn(_send_and_close(sock, pack_frame({"ok": False}, len(body)) + body))
            return
        frame = pack_frame(terms(self._leases, lease, _began(granted)).header())
        lent = False
        try:
            if request.sent:  # before the runner answers the call
                _send_small(sock, frame)
                lent = self._leases.hand_over(sock, lease)
            else:
                # The runner first: it gets ready to read a call while its client reads the answer.
                lent = self._leases.hand_over(sock, lease)
                _send_small(sock, frame)
        except OSError as error:
            log.warning("not lent", extra=kv(reason=error))
            if lent:  # its runner has it, and gives it back: it is not another's before that
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                return
            self._leases.end(lease)
        if not lent:
            sock.close()

    def _instance_token(self) -> str:
        if not self._token:  # an instance has one for its life
            self._token = paths.token_file(self._instance).read_text().strip()
        return self._token

    def _token_of(self, app_id: str) -> str:
        token = self._tokens.get(app_id)
        if token is None:
            token = self._tokens[app_id] = node_token(self._instance_token(), app_id)
        return token

    def _take_up(self, sock: socket.socket, hello: Header) -> bool:
        """Pass a client's connection on to its runner; False where there is none for it."""
        lease = self._leases.find(str(hello.get("lease")))
        if lease is None or not _is_its(lease, hello):
            log.warning("unexpected client")
            return False
        if lease.state is not LeaseState.OFFERED:
            return False  # a token is good for one connection
        try:
            sock.send(WELCOME)
        except OSError as error:
            log.warning("not lent", extra=kv(runner=lease.runner.id, reason=error))
            self._leases.end(lease)
            return False
        return self._leases.hand_over(sock, lease)

    def _new_id(self, proposed: str) -> str:
        """The id that a client gave its lease: it may have to ask what became of it without an
        answer. Raises ValueError."""
        if (
            not _ID.fullmatch(proposed)
            or self._leases.find(proposed)
            or proposed in self._leases.lost
        ):
            raise ValueError(f"no id of a lease: {proposed[:40]!r}")
        return proposed

    def _may_ask(self, lease: Lease, token: str) -> bool:
        """Whether it is told what became of a lease: its own client, or one of its app."""
        if hmac.compare_digest(lease.token, token):
            return True
        return hmac.compare_digest(self._token_of(lease.pool.app_id), token)

    async def _tell_fate(self, sock: socket.socket, hello: Header) -> None:
        with sock:
            lease = self._leases.lost.get(str(hello["fate"]))
            kind, message = "unknown", "its agent knows nothing of it"
            if lease is not None and self._may_ask(lease, str(hello.get("token"))):
                kind, message = lease.fate or ("lost", "")
                message = message or await lease.runner.fate()
            await _send_and_close(sock, pack_frame({"fate": kind, "message": message}))


def _began(granted: pb.LeaseGranted) -> Began | None:
    if not granted.HasField("began"):
        return None
    began = granted.began
    marks = [(mark.phase, mark.at_ns) for mark in began.marks]
    return Began(began.strategy, began.began_ns, marks, list(began.notes), began.printed)


async def _send_and_close(sock: socket.socket, frame: bytes) -> None:
    """The last that is said to a client."""
    with sock, contextlib.suppress(OSError):  # it may be gone
        await asyncio.get_running_loop().sock_sendall(sock, frame)


def _send_small(sock: socket.socket, frame: bytes) -> None:
    """Send to one that was sent nothing yet, without waiting. Raises OSError."""
    if sock.send(frame, socket.MSG_DONTWAIT) < len(frame):
        raise BlockingIOError(f"an answer of {len(frame)} bytes does not fit")


def _is_its(lease: Lease, hello: Header) -> bool:
    return hmac.compare_digest(lease.token, str(hello.get("token")))
