"""Leases: runners of this node that clients call directly.

The agent lends an idle runner, passes the client's connection on to it, and from then on only looks
at the runner's page: for inputs that run too long, for callers that are gone, for runners that
nobody calls. To take a runner back it shuts the runner's side of the connection for reading: what
the client had sent until then is served, whatever it sends later is refused by the kernel, so the
client knows that it was not run. Knows nothing of what is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
import socket
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from rekindle import paths
from rekindle.runtime.agent.leases.desk import Desk
from rekindle.runtime.agent.leases.lease import Counts, Lease, LeaseState
from rekindle.runtime.agent.runners.output import Line
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.direct import WELCOME
from rekindle.wire.frames import Header, pack_frame
from rekindle.wire.logs import kv
from rekindle.wire.page import CANCEL_SIGNAL, cancel_token
from rekindle.wire.phases import now_ns

if TYPE_CHECKING:
    from rekindle.runtime.agent.node import Node
    from rekindle.runtime.agent.pools.pool import Pool

log = logging.getLogger(__name__)

#: A client that was given a lease connects within this.
OFFER_S = 5.0
#: A runner that its client does not call is taken back after this; sooner where the plan says so.
IDLE_S = 5.0
#: One that was not called for this long goes to another client that asks for a lease.
STALE_S = 1.0
#: How often the pages are looked at.
LOOK_S = 0.05
#: A call whose caller is gone is cancelled; its runner is ended when that does not end it.
CANCEL_GRACE_S = 5.0
#: A runner that was asked back and runs nothing returns at once, or something is wrong with it.
RETURN_S = 30.0
#: What became of so many leases is remembered for clients that ask.
_FATES = 1000


class Leases:
    """All leases of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.desk = Desk(paths.direct_socket(node.tools.settings.instance_dir), self._greet)
        self.counts: dict[str, Counts] = {}
        self._leases: dict[str, Lease] = {}
        #: Those whose runner ended, oldest first.
        self._lost: OrderedDict[str, Lease] = OrderedDict()
        self._looking: asyncio.Task[None] | None = None

    # ---- granting --------------------------------------------------------------------------

    def grant(self, order: pb.GrantLease) -> None:
        """Lend a runner that is idle now, or say why not."""
        answer = pb.LeaseGranted(request_id=order.request_id)
        pool = self._node.pool_of(order.function_id, order.params)
        if pool is None or pool.closed:
            answer.reason = "the function is not open here"
        elif pool.waiting:
            answer.reason = "inputs wait for its runners"
        elif (runner := pool.lend(order.depth)) is None:
            answer.reason = "no runner is idle"
            self._recall_stale(pool)
        else:
            lease = self._lend(order, pool, runner)
            answer.ok = True
            answer.socket, answer.token = str(self.desk.path), lease.token
            answer.runner_id = runner.id
        self._node.uplink.send(pb.AgentMessage(lease=answer))

    def _lend(self, order: pb.GrantLease, pool: Pool, runner: Runner) -> Lease:
        self.desk.open()
        token = secrets.token_urlsafe(24)
        lease = Lease(order.lease_id, token, pool, runner, order.max_payload_bytes)
        self._leases[lease.id] = lease

        def mark(header: Header, _body: bytes) -> None:
            runner.output.drain()
            line = Line("mark", "", False, now_ns())
            pool.starter.on_line(line, runner.id, str(header["call_id"]))

        def gone() -> None:
            if lease.state is not LeaseState.ENDED:
                self._lost[lease.id] = lease
                while len(self._lost) > _FATES:
                    self._lost.popitem(last=False)
                self._end(lease)

        runner.handlers["mark"] = mark
        runner.handlers["returned"] = lambda _header, _body: self._end(lease)
        lease.on_gone = gone
        runner.on_gone.append(gone)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_while_lent())
            self._looking.add_done_callback(_report)
        return lease

    # ---- clients ---------------------------------------------------------------------------

    async def _greet(self, sock: socket.socket, hello: Header) -> bool:
        if "fate" in hello:
            await self._tell_fate(sock, hello)
            return False
        return self._take_up(sock, hello)

    def _take_up(self, sock: socket.socket, hello: Header) -> bool:
        """Pass a client's connection on to its runner; False where there is none for it."""
        lease = self._leases.get(str(hello.get("lease")))
        if lease is None or not _is_its(lease, hello):
            log.warning("unexpected client")
            return False
        if lease.state is not LeaseState.OFFERED:
            return False  # a token is good for one connection
        try:
            sock.send(WELCOME)
            sock.setblocking(True)  # for the runner: its descriptor shares this
            order = {"op": "lease", "max_result_bytes": lease.max_result_bytes}
            lease.runner.channel.send_with_fds(order, [sock.fileno()])
        except OSError as error:  # a FrameError is one too
            log.warning("not lent", extra=kv(runner=lease.runner.id, reason=error))
            self._end(lease)
            return False
        lease.sock = sock
        lease.move(LeaseState.HELD)
        lease.used = time.monotonic()

        def hung_up() -> None:
            lease.client_gone = True
            self._look(lease)

        self.desk.watch(sock, hung_up)
        return True

    async def _tell_fate(self, sock: socket.socket, hello: Header) -> None:
        lease = self._lost.get(str(hello["fate"]))
        kind, message = "lost", "its agent knows nothing of it"
        if lease is not None and _is_its(lease, hello):
            kind, message = lease.fate or ("lost", await lease.runner.fate())
        answer = pack_frame({"fate": kind, "message": message})
        await asyncio.get_running_loop().sock_sendall(sock, answer)

    # ---- the end ---------------------------------------------------------------------------

    def _end(self, lease: Lease) -> None:
        """Over: the runner is its pool's again, where it is alive."""
        if lease.state is LeaseState.ENDED:
            return
        self._count(lease)
        if lease.state is LeaseState.RECALLED:
            lease.pool.returning -= 1
        lease.move(LeaseState.ENDED)
        if lease.sock is not None:
            self.desk.forget(lease.sock)
            # Not only closed: should the runner hold on to its own, the client must see the end.
            with contextlib.suppress(OSError):
                lease.sock.shutdown(socket.SHUT_RDWR)
            lease.sock.close()
            lease.sock = None
        self._leases.pop(lease.id, None)
        lease.ended.set()
        runner = lease.runner
        if runner.state is RunnerState.LENT:
            runner.on_gone.remove(lease.on_gone)
            lease.pool.take_back(runner)
            runner.idle_since = lease.used

    def _kill(self, lease: Lease, kind: str, message: str) -> None:
        log.warning("runner ended", extra=kv(runner=lease.runner.id, reason=message))
        self._count(lease)
        lease.fate = (kind, message)
        lease.runner.kill(message)

    # ---- taking back -----------------------------------------------------------------------

    def recall(self, lease: Lease) -> None:
        """Take a runner back: it serves what was sent to it, and returns."""
        if lease.state is LeaseState.OFFERED:
            self._end(lease)
        elif lease.state is LeaseState.HELD and lease.sock is not None:
            lease.move(LeaseState.RECALLED)
            lease.pool.returning += 1
            self.desk.shut_for_reading(lease.sock)

    def short(self, pool: Pool, *, stuck: bool) -> None:
        """Inputs wait in a pool and no runner of it is idle. ``stuck``: none can be started.

        Takes back runners that are not called just now; when stuck, any.
        """
        missing = len(pool.waiting) - pool.returning
        now = time.monotonic()
        for lease in self._least_used(pool):
            if missing <= 0:
                return
            if stuck or (not lease.runs and now - lease.used >= 2 * LOOK_S):
                self.recall(lease)
                missing -= 1

    def make_room(self, pool: Pool) -> None:
        """Another pool needs the place of a runner: one that is not called comes back for it."""
        others = [lease for lease in self._leases.values() if lease.pool is not pool]
        if any(lease.state is LeaseState.RECALLED for lease in others):
            return
        idle = [one for one in others if one.state is LeaseState.HELD and not one.runs]
        if idle:
            self.recall(min(idle, key=lambda lease: lease.used))

    async def borrow_back(self, pool: Pool) -> Runner | None:
        """An idle runner of the pool, taken back from its client where it must be."""
        for lease in self._least_used(pool):
            self.recall(lease)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OFFER_S):
                    await lease.ended.wait()
            break
        return pool.idle_runner()

    async def close_pool(self, pool: Pool) -> None:
        """Its app is closed: what runs is ended, idle runners come back for their exit hooks."""
        mine = [lease for lease in self._leases.values() if lease.pool is pool]
        for lease in mine:
            if lease.runs:
                self._kill(lease, "lost", "its app was closed")
            else:
                self.recall(lease)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OFFER_S):
                for lease in mine:
                    await lease.ended.wait()

    def _recall_stale(self, pool: Pool) -> None:
        """Somebody asks for a lease: one that nobody uses can be theirs the next time."""
        for lease in self._least_used(pool):
            if not lease.runs and time.monotonic() - lease.used >= STALE_S:
                self.recall(lease)
                return

    def _least_used(self, pool: Pool) -> list[Lease]:
        lent = (LeaseState.OFFERED, LeaseState.HELD)
        mine = [one for one in self._leases.values() if one.pool is pool and one.state in lent]
        return sorted(mine, key=lambda lease: (lease.runs, lease.used))

    # ---- looking on ------------------------------------------------------------------------

    async def _look_while_lent(self) -> None:
        while self._leases:
            await asyncio.sleep(LOOK_S)
            pools = {id(lease.pool): lease.pool for lease in self._leases.values()}
            for lease in list(self._leases.values()):
                self._look(lease)
            for pool in pools.values():
                if pool.waiting:
                    pool.pump()

    def _look(self, lease: Lease) -> None:
        if lease.runner.state is not RunnerState.LENT:
            return
        now = time.monotonic()
        began_ns = lease.runner.page.began_ns
        if self._count(lease) or began_ns:
            lease.used = now
            lease.pool.last_input = now
        spec = lease.pool.revision.spec
        if began_ns and now_ns() - began_ns > spec.timeout_s * 1e9:
            self._kill(
                lease,
                "timeout",
                f"{lease.pool.revision.label} ran longer than timeout={spec.timeout_s:g} s and "
                "was stopped; give the function a longer timeout if it needs one",
            )
        elif began_ns and lease.client_gone:
            self._cancel(lease, now)
        elif lease.state is LeaseState.OFFERED and now - lease.since > OFFER_S:
            self._end(lease)
        elif lease.state is LeaseState.HELD and _is_surplus(lease.pool):
            self.recall(lease)
        elif lease.state is LeaseState.HELD and not began_ns:
            if now - lease.used > min(IDLE_S, lease.pool.sizing.plan.keep_s):
                self.recall(lease)
        elif lease.state is LeaseState.RECALLED and not began_ns and now - lease.used > RETURN_S:
            self._kill(lease, "lost", "it did not let go of a connection")

    def _cancel(self, lease: Lease, now: float) -> None:
        """Nobody waits for what it runs."""
        number, since = lease.cancelled
        page = lease.runner.page
        if number != page.index:
            lease.cancelled = (page.index, now)
            page.cancel(cancel_token(0, page.index))
            with contextlib.suppress(ProcessLookupError):
                os.kill(lease.runner.channel.pid, CANCEL_SIGNAL)
        elif now - since > CANCEL_GRACE_S:
            self._kill(lease, "lost", "its caller was gone, and it did not end")

    def _count(self, lease: Lease) -> bool:
        counts = self.counts.setdefault(lease.pool.function_id, Counts())
        return lease.count(counts)

    def stats(self) -> dict[str, pb.DirectCalls]:
        """By function, totals since this agent started: for its heartbeat."""
        held: dict[str, int] = {}
        for lease in self._leases.values():
            self._count(lease)
            function_id = lease.pool.function_id
            held[function_id] = held.get(function_id, 0) + 1
        return {
            function_id: pb.DirectCalls(
                calls=counts.calls,
                failures=counts.failures,
                busy_s=round(counts.busy_ns / 1e9, 6),
                leases=held.get(function_id, 0),
            )
            for function_id, counts in self.counts.items()
        }

    async def close(self) -> None:
        """No more leases; those that stood have ended with their pools."""
        for lease in list(self._leases.values()):
            self._end(lease)
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.desk.close()


def _is_surplus(pool: Pool) -> bool:
    """Whether a pool has more runners than it may have now."""
    most = pool.sizing.limit + pool.returning
    return pool.size() > most and pool.active() + len(pool.idle()) > most


def _is_its(lease: Lease, hello: Header) -> bool:
    return hmac.compare_digest(lease.token, str(hello.get("token")))


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("bug", exc_info=task.exception())
