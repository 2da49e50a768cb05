"""Leases: runners of this node that clients call directly.

The agent lends an idle runner, passes the client's connection on to it, and from then on only looks
at the runner's page: for inputs that run too long, for callers that are gone, for runners that
no one calls. To take a runner back it shuts the runner's side of the connection for reading: what
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
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rekindle import paths
from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import Error, StrategyUnavailableError
from rekindle.linux.maps import share_of
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.outcome import UserCodeFailed
from rekindle.runtime.agent.leases.direct_listener import DirectListener
from rekindle.runtime.agent.leases.lease import Counts, Lease, LeaseState
from rekindle.runtime.agent.leases.recalls import LOOK_S, OFFER_S, Recalls
from rekindle.runtime.agent.leases.requests import LeaseRequest, Requests, start_of
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.recent import Recent
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.direct_frames import WELCOME
from rekindle.wire.frames import Header, pack_frame
from rekindle.wire.logs import kv
from rekindle.wire.node_token import node_token
from rekindle.wire.page import CANCEL_SIGNAL, cancel_token
from rekindle.wire.phases import Strategy, now_ns

log = logging.getLogger(__name__)

#: A runner that its client does not call is taken back after this; sooner where the plan says so.
IDLE_S = 5.0
#: A call whose caller is gone is cancelled; its runner is ended when that does not end it.
CANCEL_GRACE_S = 5.0
#: A runner that was asked back and runs nothing returns at once, or something is wrong with it.
RETURN_S = 30.0
#: What became of so many leases is remembered for clients that ask.
_FATES = 1000


class Leases:
    """All leases of a node."""

    def __init__(
        self, open_pool: Callable[[str, bytes], Coroutine[Any, Any, Pool]], instance: Path
    ) -> None:
        self._open_pool = open_pool
        self._instance = instance
        self._token = ""
        self.listener = DirectListener(paths.direct_socket(instance), self._greet)
        self.counts: dict[Pool, Counts] = {}
        self._leases: dict[str, Lease] = {}
        #: Those whose runner ended, oldest first.
        self._lost: Recent[str, Lease] = Recent(_FATES)
        #: Which of them are taken back, for whom.
        self.recalls = Recalls(self._leases, self.recall)
        #: Clients that wait for a runner.
        self.requests = Requests()
        #: What results may have at most, as the controller says.
        self.max_payload_bytes = 0
        self._tasks = BackgroundTasks()
        self._looks = False

    # ---- granting --------------------------------------------------------------------------

    async def request(self, function_id: str, params: bytes, request: LeaseRequest) -> None:
        """A client wants a runner of its own: the pool's next pass has its answer."""
        try:
            pool = await self._open_pool(function_id, params)
        except Error as error:
            request.refuse(str(error))
            return
        self._add(pool, request)

    def _add(self, pool: Pool, request: LeaseRequest) -> None:
        if pool.closed:
            request.refuse("its app is closed")
        elif request.strategy is not None:
            self._tasks.spawn(self._serve_forced(pool, request, request.strategy))
        else:
            self.requests.add(pool.key, request)
            pool.changed()

    def serve_requests(self, pool: Pool) -> None:
        """Lend idle runners to those that wait for one, and give the error of a start to the first.

        Inputs that wait go first: the pool's pass has handed them out.
        """
        requests = self.requests.of(pool.key)
        error = pool.take_failure()  # also where nobody waits: who comes later gets a start
        if requests and error is not None:
            failure = outcome.set_start_failed(pb.Result(), error)
            requests.popleft().answer(pb.LeaseGranted(failure=failure))
        while requests and not pool.waiting:
            if (runner := pool.lend(requests[0].depth)) is None:
                break
            self._grant(requests.popleft(), pool, runner)

    async def _serve_forced(self, pool: Pool, request: LeaseRequest, strategy: Strategy) -> None:
        try:
            runner = await self.runner_by(pool, strategy)
        except (Error, UserCodeFailed) as error:
            failure = outcome.set_start_failed(pb.Result(), error)
            request.answer(pb.LeaseGranted(failure=failure))
            return
        if runner.state is not RunnerState.IDLE:
            request.refuse("its runner ended")
            return
        runner.move(RunnerState.LENT)
        runner.lent += 1
        self._grant(request, pool, runner)

    async def runner_by(self, pool: Pool, strategy: Strategy) -> Runner:
        """An idle runner, by exactly this strategy. Raises Error or UserCodeFailed."""
        if strategy is not Strategy.WARM:
            runner = await pool.start(strategy, now_ns())
            runner.private = True
            pool.welcome(runner)
            return runner
        if (idle := pool.runners.last_used() or await self.recalls.borrow_back(pool)) is None:
            raise StrategyUnavailableError("warm: no idle runner is there")
        return idle

    def _grant(self, request: LeaseRequest, pool: Pool, runner: Runner) -> None:
        lease = self._lend(request, pool, runner)
        began = start_of(request, runner)
        if began is not None and began.printed:
            self._mark(lease, lease.id)
        request.answer(
            pb.LeaseGranted(
                ok=True,
                socket=str(self.listener.path),
                token=lease.token,
                runner_id=runner.id,
                began=began,
                once=runner.private,
            )
        )

    def refuse_requests(self, pool: Pool, coming: int) -> None:
        """Those that no start is on its way for are refused."""
        if self.requests.refuse_beyond(pool.key, coming, "no runner is idle"):
            self.recalls.recall_stale(pool)

    def _lend(self, request: LeaseRequest, pool: Pool, runner: Runner) -> Lease:
        token = secrets.token_urlsafe(24)
        lease = Lease(
            *(request.lease_id, token, pool, runner, request.max_result_bytes, request.measure)
        )
        runner.private = runner.private or pool.revision.spec.single_use_containers
        self._leases[lease.id] = lease

        def mark(header: Header, _body: bytes) -> None:
            self._mark(lease, str(header["call_id"]))

        def gone() -> None:
            self._lost[lease.id] = lease
            self._end(lease)

        runner.handlers["mark"] = mark
        runner.handlers["returned"] = lambda _header, _body: self._end(lease)
        runner.on_gone["lease"] = gone
        if not self._looks:
            self._looks = True
            self._tasks.spawn(self._look_while_lent())
        return lease

    def _mark(self, lease: Lease, call_id: str) -> None:
        """Have the log show that all lines of a call, or of the start, have come."""
        lease.runner.output.drain()
        line = pb.LogLine(stream="mark", at_ns=now_ns())
        lease.pool.starter.on_line(line, lease.runner.id, call_id)

    # ---- clients ---------------------------------------------------------------------------

    async def _greet(self, sock: socket.socket, hello: Header) -> bool:
        if "fate" in hello:
            await self._tell_fate(sock, hello)
            return False
        if "ask" in hello:
            self._tasks.spawn(self._ask(sock, hello))
            return True
        return self._take_up(sock, hello)

    async def _ask(self, sock: socket.socket, hello: Header) -> None:
        """A client of this machine asks for a runner: its connection becomes the runner's."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[pb.LeaseGranted] = loop.create_future()
        lease_id = f"le-{secrets.token_hex(8)}"
        lent = False
        try:
            pool = await self._open_pool(str(hello["ask"]), bytes.fromhex(hello["params"]))
            expected = node_token(self._instance_token(), pool.app_id)
            if not hmac.compare_digest(expected, str(hello["token"])):
                log.warning("unexpected client")
                return
            asked = str(hello.get("strategy", ""))
            request = LeaseRequest(
                lease_id,
                int(hello["depth"]),
                self.max_payload_bytes,
                answered.set_result,
                Strategy(asked) if asked else None,
                bool(hello.get("measure")),
                bool(hello.get("patient")),
            )
            self._add(pool, request)
            granted = await self._while_it_waits(sock, pool, request, answered)
            body = granted.SerializeToString()
            head = pack_frame({"lease": lease_id, "limit": self.max_payload_bytes}, len(body))
            # The runner first: it gets ready to read a call while its client reads the answer.
            lease = self._leases.get(lease_id)
            lent = lease is not None and self._hand_over(sock, lease)
            if granted.ok:
                _send_small(sock, head + body)
            else:  # what a start failed with may be large
                await loop.sock_sendall(sock, head + body)
        except (Error, OSError, KeyError, ValueError) as error:
            log.warning("not lent", extra=kv(reason=str(error) or type(error).__name__))
            if lent:  # its runner has it, and gives it back: it is not another's before that
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        finally:
            if not lent:
                sock.close()

    async def _while_it_waits(
        self,
        sock: socket.socket,
        pool: Pool,
        request: LeaseRequest,
        answered: asyncio.Future[pb.LeaseGranted],
    ) -> pb.LeaseGranted:
        """The answer; a client that goes while it waits for long gets none. Raises OSError."""
        if not request.patient or answered.done():
            return await answered

        def hung_up() -> None:
            self.requests.remove(pool.key, request)
            if not answered.done():
                answered.set_exception(BrokenPipeError("its client is gone"))

        self.listener.watch(sock, hung_up)
        try:
            return await answered
        finally:
            self.listener.forget(sock)

    def _instance_token(self) -> str:
        if not self._token:  # an instance has one for its life
            self._token = paths.token_file(self._instance).read_text().strip()
        return self._token

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
        except OSError as error:
            log.warning("not lent", extra=kv(runner=lease.runner.id, reason=error))
            self._end(lease)
            return False
        return self._hand_over(sock, lease)

    def _hand_over(self, sock: socket.socket, lease: Lease) -> bool:
        """Give a client's connection to its runner; False where that is not possible any more."""
        try:
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

        self.listener.watch(sock, hung_up)
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
        lease.move(LeaseState.ENDED)
        if lease.sock is not None:
            self.listener.forget(lease.sock)
            # Not only closed: should the runner hold on to its own, the client must see the end.
            with contextlib.suppress(OSError):
                lease.sock.shutdown(socket.SHUT_RDWR)
            lease.sock.close()
            lease.sock = None
        self._leases.pop(lease.id, None)
        lease.ended.set()
        runner = lease.runner
        if runner.state is RunnerState.LENT:
            del runner.on_gone["lease"]
            lease.pool.take_back(runner, lease.used)
            if lease.measure:
                self._tasks.spawn(self._measure_and_retire(lease))
            else:
                self._retire(lease)

    async def _measure_and_retire(self, lease: Lease) -> None:
        await measure(lease.pool, lease.runner)
        self._retire(lease)

    def _retire(self, lease: Lease) -> None:
        """A runner that was for one call ends."""
        if lease.runner.private:
            lease.pool.stop_runner(lease.runner)

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
            self.listener.shut_for_reading(lease.sock)

    async def close_pool(self, pool: Pool) -> None:
        """Its app is closed: what runs is ended, idle runners come back for their exit hooks."""
        self.requests.refuse_all(pool.key, "its app is closed")
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

    def end_runner(self, runner: Runner, reason: str) -> None:
        """A lent runner is ended whatever it runs; its client is told why."""
        for lease in list(self._leases.values()):
            if lease.runner is runner:
                self._kill(lease, "lost", reason)

    # ---- looking on ------------------------------------------------------------------------

    async def _look_while_lent(self) -> None:
        try:
            while self._leases:
                await asyncio.sleep(LOOK_S)
                pools = {lease.pool for lease in self._leases.values()}
                for lease in list(self._leases.values()):
                    self._look(lease)
                for pool in pools:
                    if pool.waiting or self.requests.of(pool.key):
                        pool.changed()
        finally:
            self._looks = False

    def _look(self, lease: Lease) -> None:
        if lease.runner.state is not RunnerState.LENT:
            return
        now = time.monotonic()
        began_ns = lease.runner.page.began_ns
        if self._count(lease) or began_ns:
            lease.used = now
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
        elif lease.state is LeaseState.HELD and self._is_surplus(lease.pool):
            self.recall(lease)
        elif lease.state is LeaseState.HELD and not began_ns:
            if now - lease.used > min(IDLE_S, lease.pool.sizing.plan.keep_s):
                self.recall(lease)
        elif lease.state is LeaseState.RECALLED and not began_ns and now - lease.used > RETURN_S:
            self._kill(lease, "lost", "it did not let go of a connection")

    def _is_surplus(self, pool: Pool) -> bool:
        """Whether a pool has more runners than it may have now."""
        runners, most = pool.runners, pool.sizing.limit
        if len(runners) <= most:
            return False
        most += self.recalls.returning(pool)
        return len(runners) > most and runners.running() + len(runners.idle()) > most

    def _cancel(self, lease: Lease, now: float) -> None:
        """No one waits for what it runs."""
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
        counts = self.counts.setdefault(lease.pool, Counts())
        first = not lease.runner.inputs_done
        called = lease.count(counts)
        if called and first:
            lease.pool.answered_first_call(lease.runner)
        return called

    def stats(self) -> list[pb.DirectCalls]:
        """Of each pool, totals since this agent started: for its heartbeat.

        Those of a pool that is closed are in one heartbeat more.
        """
        held: dict[Pool, int] = {}
        for lease in self._leases.values():
            self._count(lease)
            held[lease.pool] = held.get(lease.pool, 0) + 1
        made = [
            pb.DirectCalls(
                function_id=pool.function_id,
                params=pool.revision.params,
                calls=counts.calls,
                failures=counts.failures,
                busy_s=round(counts.busy_ns / 1e9, 6),
                leases=held.get(pool, 0),
            )
            for pool, counts in self.counts.items()
        ]
        for pool in [one for one in self.counts if one.closed and one not in held]:
            del self.counts[pool]
        return made

    async def close(self) -> None:
        """No more leases; those that stood have ended with their pools."""
        for lease in list(self._leases.values()):
            self._end(lease)
        await self._tasks.cancel()
        await self.listener.close()


async def measure(pool: Pool, runner: Runner) -> None:
    """Keep a runner's share of memory, after a call that asked for a strategy; takes ms."""
    if runner.state is RunnerState.IDLE:
        share = await asyncio.to_thread(share_of, runner.channel.pid)
        pool.history.measured_pss[runner.id] = share.pss if share is not None else 0


def _send_small(sock: socket.socket, frame: bytes) -> None:
    """Send to one that was sent nothing yet, without waiting. Raises OSError."""
    if sock.send(frame, socket.MSG_DONTWAIT) < len(frame):
        raise BlockingIOError(f"an answer of {len(frame)} bytes does not fit")


def _is_its(lease: Lease, hello: Header) -> bool:
    return hmac.compare_digest(lease.token, str(hello.get("token")))
