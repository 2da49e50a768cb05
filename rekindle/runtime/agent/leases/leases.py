"""Leases: runners of this node that clients call directly.

The agent lends an idle runner, passes the client's connection on to it, and from then on only looks
at the runner's page (lease_monitor.py). To take a runner back it shuts the runner's side of the
connection for reading: what the client had sent until then is served, whatever it sends later is
refused by the kernel, so the client knows that it was not run. Knows nothing of what is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import time
from pathlib import Path

from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import Error, StrategyUnavailableError
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.outcome import UserCodeFailed
from rekindle.runtime.agent.leases import lease_monitor
from rekindle.runtime.agent.leases.beside import fate_beside
from rekindle.runtime.agent.leases.counting import DirectCounts
from rekindle.runtime.agent.leases.hangups import Hangups
from rekindle.runtime.agent.leases.lease import Lease, LeaseState
from rekindle.runtime.agent.leases.lease_monitor import (
    CANCEL_GRACE_S,
    LOOK_S,
    OFFER_S,
    Kill,
    Verdict,
)
from rekindle.runtime.agent.leases.measuring import measure
from rekindle.runtime.agent.leases.recalls import Recalls
from rekindle.runtime.agent.leases.requests import (
    APP_CLOSED,
    NEWER_VERSION,
    LeaseRequest,
    Requests,
    start_of,
)
from rekindle.runtime.agent.polling import Polling
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.recent import Recent
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.frames import Header
from rekindle.wire.logs import kv
from rekindle.wire.phases import Strategy

log = logging.getLogger(__name__)

#: What became of so many leases is remembered for clients that ask.
_FATES = 1000


class Leases:
    """All leases of a node."""

    def __init__(self, path: Path) -> None:
        #: Where clients with leases find this agent.
        self.path = path
        self.hangups = Hangups()
        self._counted = DirectCounts()
        self._leases: dict[str, Lease] = {}
        #: Those whose runner ended, oldest first: clients may ask why.
        self.lost: Recent[str, Lease] = Recent(_FATES)
        #: Which of them are taken back, for whom.
        self.recalls = Recalls(self._leases, self.recall)
        #: Clients that wait for a runner.
        self.requests = Requests()
        #: What results may have at most, as the controller says.
        self.max_payload_bytes = 0
        self._tasks = BackgroundTasks()
        self._polling = Polling(LOOK_S, lambda: list(self._leases.values()), self._look_at_all)

    # ---- granting --------------------------------------------------------------------------

    def add(self, pool: Pool, request: LeaseRequest) -> None:
        """A client wants a runner of its own: the pool's next pass has its answer."""
        if pool.closed:
            request.refuse(APP_CLOSED)
        elif request.received_at < pool.retired_at:
            request.refuse(NEWER_VERSION)
        elif request.strategy is not None:
            served = self._serve_forced(pool, request, request.strategy)
            self._tasks.spawn(pool.staying(served))
        else:
            self.requests.add(pool.key, request)
            pool.changed()

    def find(self, lease_id: str) -> Lease | None:
        """A lease that has not ended; None where there is none."""
        return self._leases.get(lease_id)

    def serve_requests(self, pool: Pool) -> None:
        """Lend idle runners to those that wait for one, and give the error of a start to the first.

        Inputs that wait go first: the pool's pass has handed them out.
        """
        requests = self.requests.of(pool.key)
        error = pool.starts.take_failure()  # also where nobody waits: who comes later gets a start
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
        if runner.slots is None:
            runner.move(RunnerState.LENT)
        self._grant(request, pool, runner)

    async def runner_by(self, pool: Pool, strategy: Strategy) -> Runner:
        """An idle runner, by exactly this strategy. Raises Error or UserCodeFailed."""
        if strategy is not Strategy.WARM:
            return await pool.starts.by(strategy)
        if (idle := pool.runners.last_used() or await self.recalls.borrow_back(pool)) is None:
            raise StrategyUnavailableError("warm: no idle runner is there")
        return idle

    def _grant(self, request: LeaseRequest, pool: Pool, runner: Runner) -> None:
        lease = self.lend(request, pool, runner, LeaseState.OFFERED)
        began = start_of(request, runner)
        if began is not None and began.printed:
            pool.starter.mark(lease.runner, lease.id)
        request.answer(self._granted(lease, began))

    def _granted(self, lease: Lease, began: pb.RunnerBegan | None) -> pb.LeaseGranted:
        return pb.LeaseGranted(
            ok=True,
            socket=str(self.path),
            token=lease.token,
            runner_id=lease.runner.id,
            began=began,
            once=lease.runner.private,
        )

    def refuse_requests(self, pool: Pool, coming: int) -> None:
        """Refuse the requests beyond ``coming``, the places that starts under way will give."""
        if self.requests.refuse_beyond(pool.key, coming, "no runner is idle"):
            self.recalls.recall_stale(pool)

    def lend(self, request: LeaseRequest, pool: Pool, runner: Runner, state: LeaseState) -> Lease:
        token = secrets.token_urlsafe(24)
        lease = Lease(
            *(request.lease_id, token, pool, runner, request.max_result_bytes, request.measure),
            state,
        )
        lease.recall_when_held = request.received_at < pool.retired_at
        once = request.strategy not in (None, Strategy.WARM)
        runner.private = runner.private or once or pool.revision.spec.single_use_containers
        self._leases[lease.id] = lease
        runner.lent += 1

        def returned(header: Header, _body: bytes) -> None:
            its = lease if runner.slots is None else runner.slots.owner(header["slot"])
            if isinstance(its, Lease):
                its.returned = True
                if its.state is not LeaseState.STARTING:
                    self.end(its)

        def gone() -> None:
            self.lost[lease.id] = lease
            # One may have begun its call that its agent has not seen to be ready.
            ran = runner.ready_ns or runner.last_words.ran
            if lease.state is LeaseState.STARTING and not ran:
                lease.sock = None  # it goes to the next one that is started
            if lease.fate is None and lease.slot >= 0:
                lease.fate = fate_beside(lease)
            self.end(lease)

        runner.handlers["returned"] = returned
        runner.on_gone[lease.gone_key] = gone
        self._polling.soon()
        return lease

    # ---- handing over ----------------------------------------------------------------------

    def hand_over(self, sock: socket.socket, lease: Lease) -> bool:
        """Give a client's connection to its runner; False where that is not possible any more."""
        lease.sock = sock
        try:
            sock.setblocking(True)  # for the runner: its descriptor shares this
            order: Header = {"op": "lease", "max_result_bytes": lease.max_result_bytes}
            if lease.slot >= 0:
                order["slot"] = lease.slot
            lease.runner.channel.send_with_fds(order, [sock.fileno()])
        except OSError as error:  # a FrameError is one too
            log.warning("not lent", extra=kv(runner=lease.runner.id, reason=error))
            lease.sock = None  # it is closed by who was to hand it over
            self.end(lease)
            return False
        self.hold(lease)
        return True

    def hold(self, lease: Lease) -> None:
        """Note that its runner has its client's connection, and reads from it."""
        assert lease.sock is not None
        lease.move(LeaseState.HELD)
        lease.used = time.monotonic()

        def hung_up() -> None:
            lease.client_gone = True
            # Its first call may have been answered: a snapshot is due then.
            self._look_at(lease, time.monotonic())

        self.hangups.watch(lease.sock, hung_up)
        if lease.recall_when_held:
            self.recall(lease)

    # ---- the end ---------------------------------------------------------------------------

    def end(self, lease: Lease) -> None:
        """End a lease: its runner is its pool's again, where it is alive."""
        if lease.state is LeaseState.ENDED:
            return
        self._count(lease)
        lease.move(LeaseState.ENDED)
        if lease.sock is not None:
            self.hangups.forget(lease.sock)
            # Not only closed: should the runner hold on to its own, the client must see the end.
            with contextlib.suppress(OSError):
                lease.sock.shutdown(socket.SHUT_RDWR)
            lease.sock.close()
            lease.sock = None
        self._leases.pop(lease.id, None)
        lease.ended.set()
        runner = lease.runner
        live = lease.is_live
        if runner.slots is not None and runner.slots.owner(lease.slot) is lease:
            runner.slots.release(lease.slot)
        if live:
            del runner.on_gone[lease.gone_key]
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
            self.end(lease)
        elif lease.state is LeaseState.HELD and lease.sock is not None:
            lease.move(LeaseState.RECALLED)
            self.hangups.shut_for_reading(lease.sock)

    def withdraw(self, lease: Lease) -> None:
        """End a lease whose runner is not to run what its client has sent."""
        sock = lease.sock
        assert sock is not None
        lease.fate = ("lost", "its app was closed")
        self.lost[lease.id] = lease
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
            while sock.recv(1 << 16, socket.MSG_DONTWAIT):
                continue  # what was sent before could still be read
        self.end(lease)

    async def close_pool(self, pool: Pool, *, interrupt: bool = False) -> None:
        """Its app is closed: what runs is ended, idle runners come back for their exit hooks.

        ``interrupt``: what runs is asked to end, and has a grace for that.
        """
        self.requests.refuse_pool(pool.key, APP_CLOSED)
        mine = [lease for lease in self._leases.values() if lease.pool is pool]
        for lease in mine:
            if lease.runs and interrupt and lease.sock is not None:
                self._interrupt(lease, lease.sock)
            elif lease.runs:
                self._kill(lease, "lost", "its app was closed")
            elif lease.state is LeaseState.STARTING:
                self.withdraw(lease)
            else:
                self.recall(lease)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(OFFER_S, CANCEL_GRACE_S)):
                for lease in mine:
                    await lease.ended.wait()
        for lease in mine:
            if lease.runs:
                self._kill(lease, "lost", "its app was closed")

    def _interrupt(self, lease: Lease, sock: socket.socket) -> None:
        """Have what it runs end; its client hears at once that its app was closed."""
        lease.fate = ("lost", "its app was closed")
        self.lost[lease.id] = lease
        lease.client_gone = True
        if lease.slot < 0:  # else its runner sees by the connection that no one waits
            self._act(lease, lease_monitor.cancel(lease, time.monotonic()))
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    def end_runner(self, runner: Runner, reason: str) -> None:
        """A lent runner is ended whatever it runs; its client is told why."""
        for lease in list(self._leases.values()):
            if lease.runner is runner:
                self._kill(lease, "lost", reason)

    # ---- looking on ------------------------------------------------------------------------

    def _look_at_all(self, leases: list[Lease], now: float) -> None:
        pools = {lease.pool for lease in leases}
        for pool in pools:
            self.recalls.even_out(pool)
        for lease in leases:
            self._look_at(lease, now)
        for pool in pools:
            if pool.waiting or self.requests.of(pool.key):
                pool.changed()

    def _look_at(self, lease: Lease, now: float) -> None:
        if not lease.is_live:
            return
        began_ns = lease.began_ns
        if self._count(lease) or began_ns:
            lease.used = now
        self._act(lease, lease_monitor.look_at(lease, began_ns, now, self.recalls.is_surplus))

    def _act(self, lease: Lease, verdict: Verdict | Kill) -> None:
        if isinstance(verdict, Kill):
            self._kill(lease, *verdict)
        elif verdict is Verdict.ENDS:
            self.end(lease)
        elif verdict is Verdict.RECALLED:
            self.recall(lease)

    def _count(self, lease: Lease) -> bool:
        first = not lease.runner.inputs_done
        called = self._counted.add(lease)
        if called and first:
            lease.pool.answered_first_call(lease.runner)
        return called

    def count_calls(self, pool: Pool) -> None:
        """Take in what its lent runners have answered by now."""
        for lease in self._leases.values():
            if lease.pool is pool:
                self._count(lease)

    def stats(self) -> list[pb.DirectCalls]:
        """For the heartbeat, see counting.py."""
        for lease in self._leases.values():
            self._count(lease)
        return self._counted.messages(self._leases.values())

    async def close(self) -> None:
        """No more leases; those that stood have ended with their pools."""
        for lease in list(self._leases.values()):
            self.end(lease)
        self.requests.refuse_all("the agent is stopping")
        self._polling.stop()
        await self._tasks.cancel()
        self.hangups.close()
