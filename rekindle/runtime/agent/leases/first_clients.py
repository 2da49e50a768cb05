"""Clients of this machine whose connection goes to a runner with its start.

The runner reads from it as soon as it is ready, and tells its client what was granted. Until then
the connection is the agent's, for the next one that is started where this one fails, and what the
client has sent is not run where its app is closed. A runner that was ready may have begun the call:
where it ends before its agent has taken that in, the connection is closed, and no other gets it.
"""

from __future__ import annotations

from rekindle.exception import ExecutionError
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.outcome import StartFailure
from rekindle.runtime.agent.leases.lease import Lease, LeaseState
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.leases.requests import APP_CLOSED, NEWER_VERSION, LeaseRequest
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.runtime.agent.starts.pending import FirstClient
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.frames import Header
from rekindle.wire.granted import Began, Granted


class FirstClients:
    """Gives starts their clients."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    def of_next_start(self, pool: Pool) -> FirstClient | None:
        """The first that waits; None where none does, or an input is to have that runner."""
        if pool.revision.spec.takes_many:
            return None  # it has room for all that wait, once it is ready
        requests = self._leases.requests.of(pool.key)
        if not requests or requests[0].sock is None or pool.runners.unclaimed < len(pool.waiting):
            return None
        return self.of(pool, requests.popleft())

    def of(self, pool: Pool, request: LeaseRequest) -> FirstClient:
        """The one of a request that is of this machine."""
        assert request.sock is not None
        lease: Lease | None = None

        def offer(runner: Runner, notes: list[str]) -> Header:
            nonlocal lease
            lease, order = self._offer(request, pool, runner, notes)
            return order

        def served(runner: Runner) -> None:
            assert lease is not None
            self._started(lease, runner)
            request.answer(None)

        def withdrawn() -> None:
            if lease is not None and lease.state is LeaseState.STARTING:
                self._leases.withdraw(lease)
            request.answer(None)

        def failed(error: StartFailure) -> None:
            if not client.waits:
                request.answer(None)  # withdrawn before, or one was ready, and ended
                return
            if pool.closed and isinstance(error, ExecutionError):  # before any had its connection
                request.refuse(NEWER_VERSION if pool.retired_at else APP_CLOSED)
                return
            failure = outcome.set_start_failed(pb.Result(), error)
            request.answer(pb.LeaseGranted(failure=failure))

        client = FirstClient(request.sock, offer, served, withdrawn, failed)
        return client

    def _offer(
        self, request: LeaseRequest, pool: Pool, runner: Runner, notes: list[str]
    ) -> tuple[Lease, Header]:
        """A lease on a runner that is being started, and what that is told: it has the connection,
        which stays the agent's, too, until it is ready."""
        lease = self._leases.lend(request, pool, runner, LeaseState.STARTING)
        lease.sock = request.sock
        assert lease.sock is not None
        lease.sock.setblocking(True)  # for the runner: its descriptor shares this
        began = Began(runner.strategy.value, runner.began_ns, list(runner.marks), notes)
        return lease, {
            "max_result_bytes": lease.max_result_bytes,
            "sent": request.sent,
            "granted": terms(self._leases, lease, began).header(),
        }

    def _started(self, lease: Lease, runner: Runner) -> None:
        """It is ready, and reads what its client has sent."""
        if lease.state is not LeaseState.STARTING:
            return  # withdrawn, or it has ended
        runner.move(RunnerState.LENT)
        self._leases.hold(lease)
        if lease.returned:
            self._leases.end(lease)


def terms(leases: Leases, lease: Lease, began: Began | None) -> Granted:
    """What a client of this machine is told of its lease."""
    return Granted(
        *(lease.id, str(leases.path), lease.token, lease.runner.id),
        *(leases.max_payload_bytes, lease.runner.private, began),
    )
