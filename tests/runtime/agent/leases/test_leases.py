"""Leases on one node: real runners, called by a client over their own connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rekindle import paths
from rekindle.exception import InputCancellation
from rekindle.runtime.agent.leases import leases as leases_room
from rekindle.runtime.agent.leases.requests import LeaseRequest
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.sdk.calls.lease import Lease, NotRunError
from rekindle.wire import direct_frames as wire
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.exceptions import ExceptionRecord, rebuild_exception, remote_traceback
from rekindle.wire.frames import pack_frame
from rekindle.wire.node_token import node_token
from rekindle.wire.phases import Strategy
from rekindle.wire.pools import PoolPlan
from rekindle.wire.shared import pack_input, unpack
from tests.runtime.agent.harness import PATIENCE_S, Harness, run


class Unstartable:
    """Its hook fails."""

    def load(self) -> None:
        raise RuntimeError("no weights")


class Worker:
    """Does as it is told."""

    def load(self) -> None:
        self.count = 0

    def who(self) -> str:
        return socket.gethostname()

    def add(self, path: str, _data: bytes = b"") -> int:
        with open(path, "ab") as file:
            file.write(b".")
        self.count = getattr(self, "count", 0) + 1
        return self.count

    def fail(self) -> None:
        raise LookupError("no such thing")

    def talk(self, text: str) -> None:
        print(text)

    def sleep(self, path: str, seconds: float) -> str:
        Path(path).touch()
        try:
            time.sleep(seconds)
        except InputCancellation:
            Path(path).write_text("cancelled")
            raise
        return "slept"

    def double(self, array: Any) -> Any:
        array *= 2
        return array

    def length(self, data: bytes) -> Any:
        return len(data), data

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    def lock(self) -> object:
        return threading.Lock()

    def exit_(self) -> None:
        print("goodbye")


class Client:
    """A client of a node: asks for leases, calls, and goes through the node where it must."""

    def __init__(self, h: Harness, function_id: str) -> None:
        self.h = h
        self.function_id = function_id
        self._asked = 0
        self._calls = 0

    async def ask(
        self, strategy: Strategy | None = None, *, measure: bool = False
    ) -> pb.LeaseGranted:
        self._asked += 1
        request_id = f"{id(self)}-{self._asked}"
        answered: asyncio.Future[pb.LeaseGranted] = asyncio.get_running_loop().create_future()
        request = LeaseRequest(f"le-{request_id}", 0, 0, answered.set_result, strategy, measure)
        await self.h.node.lend(self.function_id, b"", request)
        granted = await answered
        granted.request_id = request_id
        return granted

    def reply_for(self, granted: pb.LeaseGranted) -> pb.LeaseReply:
        return pb.LeaseReply(
            granted=True,
            lease_id=f"le-{granted.request_id}",
            socket=granted.socket,
            token=granted.token,
            runner_id=granted.runner_id,
        )

    async def lease(self) -> Lease:
        granted = await self.ask()
        assert granted.ok, granted.reason
        return await Lease.take_up(self.reply_for(granted))

    async def call(self, held: Lease, method: str, *args: Any) -> wire.ReplyFrame | None:
        self._calls += 1
        call_id = f"fc-direct-{self._calls}"
        packed = pack_input(args, {})
        try:
            return await asyncio.to_thread(held.call, call_id, method, packed)
        finally:
            packed.close()

    async def value(self, held: Lease, method: str, *args: Any) -> Any:
        reply = await self.call(held, method, *args)
        assert reply is not None, await asyncio.to_thread(held.fate)
        value = unpack(reply.data, reply.take_fd())
        if reply.status != wire.OK:
            raise rebuild_exception(ExceptionRecord(*value))
        return value


def _is_marked(h: Harness, call_id: str) -> bool:
    return any(line.stream == "mark" and line.call_id == call_id for line in h.uplink.lines)


def _is_idle(runner: Runner) -> bool:
    return runner.state is RunnerState.IDLE


async def until(condition: Callable[[], Any]) -> None:
    """Processes and pages tell nobody when they change."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def warm(h: Harness, code: Any = Worker, **spec: Any) -> tuple[str, Client]:
    """A function with one warm runner, and a client of it."""
    function_id = h.add(code, **spec)
    await h.call(function_id, "who")
    await until(lambda: all(map(_is_idle, h.runners(function_id))))
    return function_id, Client(h, function_id)


def test_a_client_calls_a_runner_that_it_leased_and_gives_it_back(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        (runner,) = h.runners(function_id)
        held = await client.lease()
        assert held.runner_id == runner.id and runner.state is RunnerState.LENT
        assert await client.value(held, "who") == runner.id
        assert await client.value(held, "who") == runner.id
        [stats] = h.node.leases.stats()
        assert (stats.calls, stats.failures, stats.leases) == (2, 0, 1)
        held.close()
        await until(lambda: runner.state is RunnerState.IDLE)
        assert (await h.call(function_id, "who")).value == runner.id
        [stats] = h.node.leases.stats()
        assert (stats.function_id, stats.leases) == (function_id, 0)

    run(home, scenario)


def test_exceptions_come_home_with_their_traceback(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        _, client = await warm(h)
        held = await client.lease()
        with pytest.raises(LookupError, match="no such thing") as caught:
            await client.value(held, "fail")
        assert "in fail" in (remote_traceback(caught.value) or "")
        with pytest.raises(Exception, match=r"is a _thread\.lock"):
            await client.value(held, "lock")
        with pytest.raises(Exception, match="no method 'nothing'"):
            await client.value(held, "nothing")
        assert await client.value(held, "who")
        [stats] = h.node.leases.stats()
        assert stats.failures == 3
        held.close()

    run(home, scenario)


def test_large_values_go_both_ways_and_can_be_written_to(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        _, client = await warm(h)
        held = await client.lease()
        sent = np.arange(1_000_000, dtype=np.float64)
        got = await client.value(held, "double", sent)
        assert got[10] == 20 and sent[10] == 10
        got += 1
        data = os.urandom(3 << 20)
        assert await client.value(held, "length", data) == (len(data), data)
        held.close()

    run(home, scenario)


def test_what_a_call_prints_is_followed_by_its_mark_and_silence_by_none(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        _, client = await warm(h)
        held = await client.lease()
        first = await client.call(held, "who")
        for number in range(20):
            reply = await client.call(held, "talk", f"line {number}")
            assert reply is not None and reply.printed
            call_id = f"fc-direct-{client._calls}"
            await until(partial(_is_marked, h, call_id))
            mine = [line for line in h.uplink.lines if line.call_id == call_id]
            assert [line.stream for line in mine] == ["stdout", "mark"]
            assert mine[0].text == f"line {number}" and mine[0].runner_id == held.runner_id
        # Where the agent was reading when the last line was told of, one call more is taken for
        # one that printed: a mark too many.
        await client.call(held, "who")
        last = await client.call(held, "who")
        assert first is not None and last is not None
        assert not first.printed and not last.printed
        held.close()

    run(home, scenario)


def test_a_token_is_good_for_one_connection_of_one_lease(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        _, client = await warm(h)
        granted = await client.ask()
        reply = client.reply_for(granted)
        wrong = client.reply_for(granted)
        wrong.token = "wrong"
        with pytest.raises(ConnectionError):
            await Lease.take_up(wrong)
        held = await Lease.take_up(reply)
        assert await client.value(held, "who")
        with pytest.raises(ConnectionError):
            await Lease.take_up(reply)
        assert await client.value(held, "who")
        mode = os.stat(granted.socket).st_mode
        assert mode & 0o777 == 0o600
        for nonsense in (b"GET / HTTP/1.1\r\n\r\n", pack_frame({}), pack_frame({"lease": 1})):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(PATIENCE_S)
                sock.connect(granted.socket)
                sock.sendall(nonsense)
                sock.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    assert await asyncio.to_thread(sock.recv, 100) == b""
        held.close()

    run(home, scenario)


def test_a_lease_that_nobody_takes_up_ends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_room, "OFFER_S", 0.2)

    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=1)
        (runner,) = h.runners(function_id)
        assert (await client.ask()).ok
        assert (await client.ask()).reason == "no runner is idle"
        await until(lambda: runner.state is RunnerState.IDLE)
        assert (await client.ask()).ok

    run(home, scenario)


def test_nothing_is_lent_where_nothing_is_idle_and_nothing_may_be_started(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=1)
        keys = [h.submit(function_id, "sleep", str(home / f"begun{i}"), 0.3) for i in range(3)]
        await until(lambda: (home / "begun0").exists())
        assert not (await client.ask()).ok
        for key in keys:
            assert (await h.result(key)).value == "slept"
        await until(lambda: all(map(_is_idle, h.runners(function_id))))
        assert (await client.ask()).ok

    run(home, scenario)


def test_a_runner_is_started_for_a_client_where_none_is_idle(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        client = Client(h, h.add(Worker))
        granted = await client.ask()
        assert granted.ok, granted.reason
        assert granted.began.strategy == "cold"
        assert "import" in {mark.phase for mark in granted.began.marks}
        held = await Lease.take_up(client.reply_for(granted))
        assert await client.value(held, "who")
        other = await client.ask()
        assert other.ok and other.began.began_ns > granted.began.began_ns
        held.close()

    run(home, scenario)


def test_a_start_that_fails_is_the_answer_to_who_asked_for_it(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        granted = await Client(h, h.add(Unstartable)).ask()
        assert not granted.ok and granted.failure.status == pb.START_FAILURE
        assert granted.failure.message == "no weights"

    run(home, scenario)


class FailsFirst:
    """The hook of its first runner fails."""

    def enter(self) -> None:
        failed = Path(os.environ["FAILED"])
        if not failed.exists():
            failed.touch()
            raise RuntimeError("not yet")

    def who(self) -> str:
        return socket.gethostname()


def test_a_start_that_failed_while_nobody_waited_is_no_answer_to_who_comes_later(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(FailsFirst, env={"FAILED": str(home / "failed")})
        client = Client(h, function_id)
        h.node.open(pb.OpenFunction(function_id=function_id))
        await until(lambda: h.node.inventory.pool_of(function_id, b""))
        pool = h.node.inventory.pool_of(function_id, b"")
        assert pool is not None
        pool.start_runner()  # as where its plan asks for one
        await until(lambda: not pool.runners.starting)
        assert (home / "failed").exists() and not pool.runners
        h.node.scheduler.reconcile(pool)
        granted = await client.ask()
        assert granted.ok, granted

    run(home, scenario)


def test_a_runner_granted_to_a_client_that_hung_up_is_another_s_once_it_has_let_go(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=1)
        (runner,) = h.runners(function_id)
        h.node.local_clients._token = "secret"
        hello = {"ask": function_id, "params": "", "depth": 0, "strategy": "", "measure": False}
        hello |= {"sent": False, "token": node_token("secret", "ap-test")}
        for number in range(20):
            lent = runner.lent
            hello["lease"] = f"le-{number:016x}"
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(paths.direct_socket(home / "instance")))
                sock.sendall(pack_frame(hello))
            while runner.lent == lent:
                await asyncio.sleep(0)
            while not (granted := await client.ask()).ok:
                await asyncio.sleep(0)
            held = await Lease.take_up(client.reply_for(granted))
            assert await client.value(held, "who") == runner.id
            held.close()
            await until(lambda: _is_idle(runner))

    run(home, scenario)


def test_a_call_over_its_timeout_ends_with_its_runner_and_the_client_hears_why(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, timeout_s=0.3)
        held = await client.lease()
        assert await client.call(held, "sleep", str(home / "begun"), 60) is None
        fate = await asyncio.to_thread(held.fate)
        assert fate.kind == "timeout"
        assert "ran longer than timeout=0.3 s" in fate.message
        assert not h.runners(function_id)
        assert (await h.call(function_id, "who")).value

    run(home, scenario)


def test_a_runner_that_dies_under_a_call_is_told_with_how_it_died(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        held = await client.lease()
        assert await client.call(held, "crash") is None
        fate = await asyncio.to_thread(held.fate)
        assert fate.kind == "lost" and "SIGKILL" in fate.message
        assert (await h.call(function_id, "who")).value

    run(home, scenario)


def test_a_client_that_goes_away_takes_its_call_with_it_and_the_runner_stays(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        (runner,) = h.runners(function_id)
        held, begun = await client.lease(), home / "begun"
        calling = asyncio.create_task(client.call(held, "sleep", str(begun), 60))
        await until(begun.exists)
        held._sock.shutdown(socket.SHUT_RDWR)  # as when its process is killed
        assert await calling is None
        await until(lambda: begun.read_text() == "cancelled")
        await until(lambda: runner.state is RunnerState.IDLE)
        assert (await h.call(function_id, "who")).value == runner.id

    run(home, scenario)


def test_inputs_that_wait_get_the_runner_of_a_client_that_does_not_use_it(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=1)
        (runner,) = h.runners(function_id)
        held = await client.lease()
        assert await client.value(held, "who") == runner.id
        assert (await h.call(function_id, "who")).value == runner.id
        with pytest.raises(NotRunError):
            await client.call(held, "who")
        await until(lambda: _is_idle(runner))
        held = await client.lease()
        assert await client.value(held, "who") == runner.id
        assert (await h.call(function_id, "who", strategy="warm")).value == runner.id

    run(home, scenario)


def test_a_busy_client_does_not_starve_inputs_that_wait(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=1)
        held = await client.lease()
        over = asyncio.Event()

        async def hammer() -> None:
            with pytest.raises(NotRunError):
                while not over.is_set():
                    await client.call(held, "who")

        hammering = asyncio.create_task(hammer())
        await asyncio.sleep(0)
        assert (await h.call(function_id, "who")).value
        over.set()
        await hammering

    run(home, scenario)


def test_nothing_runs_twice_when_runners_are_taken_back_under_load(home: Path) -> None:
    """Each call leaves one byte; hundreds of leases end while calls are on their way."""

    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, max_containers=2)
        ledger = home / "ledger"
        counts = {"direct": 0, "refused": 0, "queued": 0}
        stop = asyncio.Event()

        # In one read, in several that can be cut in the middle, and beside a descriptor.
        sizes = itertools.cycle([0, 150_000, 0, 1_000_000])

        async def caller() -> None:
            while not stop.is_set():
                granted = await client.ask()
                if not granted.ok:
                    await h.call(function_id, "add", str(ledger))
                    counts["queued"] += 1
                    continue
                try:
                    held = await Lease.take_up(client.reply_for(granted))
                except ConnectionError:
                    continue  # taken back before we came
                try:
                    while True:
                        await client.value(held, "add", str(ledger), bytes(next(sizes)))
                        counts["direct"] += 1
                except NotRunError:
                    counts["refused"] += 1

        callers = [asyncio.create_task(caller()) for _ in range(2)]
        while counts["refused"] <= 200:
            assert not any(one.done() for one in callers)
            await asyncio.sleep(0.003)
            for lease in list(h.node.leases._leases.values()):
                h.node.leases.recall(lease)
        stop.set()
        while not all(one.done() for one in callers):
            for lease in list(h.node.leases._leases.values()):
                h.node.leases.recall(lease)
            await asyncio.sleep(0.01)
        await asyncio.gather(*callers)
        assert ledger.stat().st_size == counts["direct"] + counts["queued"], counts

    run(home, scenario)


def test_an_app_that_closes_gets_its_runners_back_for_their_exit_hooks(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        held = await client.lease()
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: h.uplink.closed_apps)
        assert "goodbye" in h.uplink.printed()
        with pytest.raises(NotRunError):
            await client.call(held, "who")
        assert not h.runners(function_id)

    run(home, scenario)


def test_a_runner_that_its_client_forgets_is_taken_back_and_ends_in_its_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_room, "IDLE_S", 0.3)

    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, scaledown_window_s=1)
        (runner,) = h.runners(function_id)
        await client.lease()
        began = time.monotonic()
        await until(lambda: runner.state is RunnerState.IDLE)
        await until(lambda: runner.state is RunnerState.GONE)
        assert time.monotonic() - began >= 0.9

    run(home, scenario)


def test_a_pool_that_may_have_fewer_runners_takes_lent_ones_back(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h)
        pool = h.node.inventory.pool_of(function_id, b"")
        assert pool is not None
        pool.welcome(await pool.starter.start(Strategy.COLD, time.time_ns()))
        held = await client.lease()
        other = await client.lease()
        for one in (held, other):
            assert await client.value(one, "who")
        pool.sizing.order(PoolPlan(max_runners=1))
        await until(lambda: len(pool.runners) == 1)
        assert (await h.call(function_id, "who")).value

    run(home, scenario)


@pytest.mark.criu
def test_a_strategy_that_is_asked_for_is_taken_and_its_runner_ends_with_the_lease(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        function_id, client = await warm(h, enable_memory_snapshot=True)
        refused = await Client(h, h.add(Worker)).ask(Strategy.RESTORE)
        assert "enable_memory_snapshot" in refused.failure.message
        assert refused.failure.error_type.endswith("StrategyUnavailableError")
        assert (await h.prepare(function_id, "restore")).ok
        assert (await h.prepare(function_id, "fork")).ok
        idle = [runner.id for runner in h.runners(function_id)]
        for strategy in (Strategy.FORK, Strategy.RESTORE):
            granted = await client.ask(strategy, measure=True)
            assert granted.once and granted.began.strategy == strategy
            held = await Lease.take_up(client.reply_for(granted))
            array = np.ones(1_000_000)
            assert (await client.value(held, "double", array))[0] == 2
            assert (await client.value(held, "who")) == granted.runner_id
            held.close()
            await until(lambda: [runner.id for runner in h.runners(function_id)] == idle)
            assert h.node.history.measured_pss[granted.runner_id] > 0
        granted = await client.ask(Strategy.WARM)
        assert granted.ok and not granted.once and not granted.HasField("began")

    run(home, scenario)


def test_a_runner_for_a_single_input_ends_with_its_lease(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(Worker, single_use_containers=True)
        client = Client(h, function_id)
        who = set()
        for _ in range(2):
            granted = await client.ask()
            assert granted.once and granted.began.strategy == "cold"
            held = await Lease.take_up(client.reply_for(granted))
            who.add(await client.value(held, "who"))
            held.close()
            await until(lambda: not h.runners(function_id))
        assert len(who) == 2

    run(home, scenario)


@pytest.mark.criu
def test_the_first_direct_call_is_answered_before_the_snapshot_is_begun(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(Worker, enable_memory_snapshot=True)
        client = Client(h, function_id)
        granted = await client.ask()
        held = await Lease.take_up(client.reply_for(granted))
        pool = h.node.inventory.pool_of(function_id, b"")
        assert pool is not None
        h.node.scheduler.reconcile_all()
        assert not pool.revision.background
        assert await client.value(held, "who")
        await until(lambda: pool.revision.background)

    run(home, scenario)
