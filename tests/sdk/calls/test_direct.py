"""The client's side of direct calls, against an agent and a runner that misbehave as told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import (
    ExecutionError,
    FunctionTimeoutError,
    RequestSizeError,
    SerializationError,
    StartError,
)
from rekindle.sdk.calls import invocation, lease_caches, leases, records
from rekindle.sdk.connection.background import background
from rekindle.wire import direct_frames as wire
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import now_ns
from tests.e2e.harness import wait_until
from tests.sdk.fake_lender import Lender, add, answer, app, hang_up


async def _await(call: Awaitable[Any]) -> Any:
    return await call


def test_calls_go_directly_from_the_first_one_on(lender: Lender) -> None:
    with app.run(), records.collect() as made:
        assert [add.remote(i, 1) for i in range(10)] == list(range(1, 11))
    assert not lender.submitted and len(lender.calls) == 10 and lender.lease_requests == 1
    assert {one.runner_id for one in made} == {"ru-direct"}
    assert len({one.call_id for one in made}) == 10
    assert set(made[-1].phases) == {"queue", "load_input", "execute", "store_result"}
    assert lender.ended.wait(60), "the lease is given back when the app ends"


def test_the_first_call_has_the_start_of_its_runner_in_its_record(lender: Lender) -> None:
    began_ns = now_ns()
    marks = [
        pb.PhaseMark(phase="fork", at_ns=began_ns + 2),
        pb.PhaseMark(phase="reseed", at_ns=began_ns + 5),
    ]
    lender.began = pb.RunnerBegan(strategy="fork", began_ns=began_ns, marks=marks, notes=["why"])
    with app.run(), records.collect() as made:
        assert [add.remote(i, 1) for i in range(2)] == [1, 2]
    assert [one.strategy for one in made] == ["fork", "warm"]
    assert set(made[0].phases) >= {"queue", "fork", "reseed", "load_input", "execute"}
    assert made[0].notes == ("why",) and made[1].notes == ()
    assert sum(made[0].phases.values()) == pytest.approx(made[0].total_ms)


@pytest.mark.parametrize("way", ["blocking", "aio"])
def test_what_has_to_be_looked_up_before_a_call_is_in_its_record(
    lender: Lender, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    declaration = type(add._declaration)
    resolve = declaration.resolve
    began_ns: list[int] = []
    answered_ns: list[int] = []

    def slow(self: Any) -> Any:
        began_ns.append(now_ns())
        time.sleep(0.05)  # as a look-up, or what a runner's first call loads
        return resolve(self)

    def answer_and_note(sock: socket.socket, call: wire.CallFrame) -> None:
        answered_ns.append(now_ns())
        answer(sock, call)

    lender.serve = answer_and_note
    with app.run(), records.collect() as made:
        monkeypatch.setattr(declaration, "resolve", slow)
        if way == "blocking":
            assert add.remote(1) == 1
        else:
            assert asyncio.run(_await(add.remote.aio(1))) == 1
    assert made[0].total_ms >= (answered_ns[0] - began_ns[0]) / 1e6


def know_agent() -> None:
    """The app's client may ask its agent by itself."""
    made = app.running
    assert made is not None
    made.client.node_tokens = dict.fromkeys(made.function_ids.values(), "token")


class HungUpOn:
    """Its agent waits no longer for a client that has not said anything, while it is pickled."""

    def __init__(self, lender: Lender) -> None:
        self.lender = lender

    def __reduce__(self) -> tuple[Any, ...]:
        assert self.lender.connected.wait(60)
        if len(self.lender.connections) == 1:
            self.lender.connections[0].shutdown(socket.SHUT_RDWR)
        return int, (3,)


def test_a_client_is_connected_before_its_arguments_are_pickled_and_asks_again_if_that_took_long(
    lender: Lender,
) -> None:
    lender.all_ask = threading.Barrier(1)
    with app.run():
        know_agent()
        assert add.remote(HungUpOn(lender), 1) == 4
    assert len(lender.connections) == 2
    assert len(lender.calls) == 1 and not lender.lease_requests and not lender.submitted


def test_a_client_whose_agent_is_gone_asks_the_controller(lender: Lender) -> None:
    with app.run():
        know_agent()
        lender.agent_ends()
        assert add.remote(1, 2) == 3
    assert not lender.calls and len(lender.submitted) == 1


def test_more_calls_than_may_ask_their_agent_at_the_same_time_go_through_the_controller(
    lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_MOST_ASKING", 5)
    lender.all_ask = threading.Barrier(5)
    lender.refusal = "it has none to lend"

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(_await(add.remote.aio(i)) for i in range(20)))

    with app.run():
        know_agent()
        assert asyncio.run(all_at_once()) == list(range(20))
    assert len(lender.calls) == 5 and len(lender.submitted) == 15


def test_any_number_of_tasks_wait_for_their_runners_at_the_same_time(lender: Lender) -> None:
    count = 40  # more than the threads of a loop's executor
    lender.all_ask = threading.Barrier(count)

    async def all_at_once() -> list[int]:
        return await asyncio.gather(*(_await(add.remote.aio(i)) for i in range(count)))

    with app.run():
        know_agent()
        assert asyncio.run(all_at_once()) == list(range(count))
    assert len(lender.calls) == count and not lender.lease_requests and not lender.submitted


def test_a_start_that_fails_is_the_error_of_the_call(lender: Lender) -> None:
    lender.failure = pb.Result(status=pb.START_FAILURE, message="it has no GPU")
    with app.run(), pytest.raises(StartError, match="it has no GPU"):
        add.remote(1)
    assert not lender.submitted and not lender.calls


def test_calls_whose_strategy_is_asked_for_each_ask_for_a_runner_of_it(lender: Lender) -> None:
    lender.once = True
    with app.run():
        for _ in range(3):
            with rekindle.sdk.running.ask_strategy("fork"):
                assert add.remote(1) == 1
    assert len(lender.calls) == 3 and not lender.submitted
    assert lender.strategies == ["fork"] * 3


def test_a_warm_call_goes_by_a_lease_that_is_held(lender: Lender) -> None:
    with app.run():
        add.remote(1)
        with rekindle.sdk.running.ask_strategy("warm"):
            assert add.remote(1) == 1
            lender.connections[-1].shutdown(socket.SHUT_RDWR)  # it is taken back
            assert add.remote(2) == 2
    assert not lender.submitted and lender.strategies == ["", "warm"]


def test_a_runner_for_one_call_is_called_once(lender: Lender) -> None:
    lender.once = True
    with app.run():
        assert [add.remote(i) for i in range(3)] == [0, 1, 2]
    assert lender.lease_requests == 3 and len(lender.calls) == 3


def test_a_refusal_is_not_asked_for_again_at_once(lender: Lender) -> None:
    lender.refusal = "no runner is idle"
    with app.run():
        for i in range(20):
            assert add.remote(i) == i
        assert len(lender.submitted) == 20 and lender.lease_requests < 20
        lender.refusal = None
        while not lender.calls:
            add.remote(1)


def test_what_can_never_be_leased_is_asked_for_once(lender: Lender) -> None:
    lender.refusal = rekindle.exception.InvalidError("add has retries")
    with app.run():
        assert [add.remote(i) for i in range(20)] == list(range(20))
    assert lender.lease_requests == 1


def test_exceptions_come_as_they_are_and_the_lease_stays(lender: Lender) -> None:
    with app.run(), records.collect() as made:
        add.remote(1)
        with pytest.raises(TypeError, match="unsupported operand") as caught:
            add.remote(1, "x")
        assert "Traceback" in str(caught.value.__cause__)
        assert add.remote(2) == 2
        assert not made[-2].ok
    assert lender.lease_requests == 1


@pytest.mark.parametrize("way", ["blocking", "aio"])
def test_a_call_that_was_not_accepted_is_made_by_a_new_lease_once(lender: Lender, way: str) -> None:
    with app.run():
        add.remote(2)
        for one in lender.connections:
            one.shutdown(socket.SHUT_RD)
        value = add.remote(3) if way == "blocking" else asyncio.run(_await(add.remote.aio(3)))
        assert value == 3
    assert not lender.submitted and len(lender.calls) == 2 and lender.lease_requests == 2


def test_a_call_that_was_not_accepted_where_no_lease_is_granted_is_queued_once(
    lender: Lender,
) -> None:
    with app.run():
        add.remote(2)
        lender.refusal = "no runner is idle"
        for one in lender.connections:
            one.shutdown(socket.SHUT_RD)
        assert add.remote(3) == 3
    assert len(lender.submitted) == 1 and len(lender.calls) == 1


@pytest.mark.parametrize("way", ["blocking", "aio"])
@pytest.mark.parametrize(("fate", "deliveries"), [("lost", 2), ("again", 1)])
def test_a_lost_call_is_submitted_again_under_its_id_and_counts_where_it_may_be_to_blame(
    lender: Lender, way: str, fate: str, deliveries: int
) -> None:
    lender.serve = hang_up
    lender.fate["fate"] = fate
    with app.run(), records.collect() as made:
        value = add.remote(2) if way == "blocking" else asyncio.run(_await(add.remote.aio(2)))
        assert value == 2
    assert [request.call_id for request in lender.submitted] == lender.calls
    assert made[-1].deliveries == deliveries


def test_a_call_that_ran_too_long_is_not_submitted_again(lender: Lender) -> None:
    lender.serve = hang_up
    lender.fate = {"fate": "timeout", "message": "add ran longer than timeout=1 s"}
    with app.run(), pytest.raises(FunctionTimeoutError, match="longer than timeout=1 s"):
        add.remote(2)
    assert not lender.submitted


def test_a_first_call_that_ran_too_long_is_recorded_with_the_start_of_its_runner(
    lender: Lender,
) -> None:
    lender.serve = hang_up
    lender.fate = {"fate": "timeout", "message": "add ran longer than timeout=1 s"}
    now = now_ns()
    marks = [pb.PhaseMark(phase=name, at_ns=now + 2) for name in ("interpreter", "import")]
    lender.began = pb.RunnerBegan(strategy="cold", began_ns=now + 1, marks=marks)
    with app.run(), records.collect() as made, pytest.raises(FunctionTimeoutError):
        add.remote(2)
    [record] = made
    assert record.strategy == "cold" and not record.ok
    assert {"interpreter", "import", "execute"} <= record.phases.keys()


def waits_for_its_reply(thread: threading.Thread) -> bool:
    """Whether a thread sleeps in the kernel, for more than its turn to run Python."""
    task = Path(f"/proc/self/task/{thread.native_id}")
    state = (task / "stat").read_text().rpartition(")")[2].split()[0]
    return state == "S" and "futex" not in (task / "wchan").read_text()


def test_an_interrupt_that_does_not_wake_its_thread_ends_the_call_all_the_same(
    lender: Lender,
) -> None:
    """As one does not that comes just before the thread sleeps; here, as another thread gets it."""

    hung_up = []

    def interrupt(sock: socket.socket, call: wire.CallFrame) -> None:
        while not waits_for_its_reply(threading.main_thread()):
            time.sleep(0.001)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        hung_up.append(wire.readable(sock, 60))
        if not hung_up[0]:
            answer(sock, call)

    lender.serve = interrupt
    with app.run():
        with pytest.raises(KeyboardInterrupt):
            add.remote(2)
        assert lender.ended.wait(60)
    assert hung_up == [True]


def test_a_cancelled_task_hangs_up(lender: Lender) -> None:
    begun = threading.Event()
    lender.serve = lambda _sock, _call: begun.set()  # and never an answer

    async def scenario() -> None:
        calling = asyncio.create_task(_await(add.remote.aio(2)))
        await asyncio.to_thread(begun.wait, 60)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    with app.run():
        asyncio.run(scenario())
        assert lender.ended.wait(60)


@pytest.mark.parametrize("way", ["cancelled", "lost", "not accepted"])
def test_a_lease_that_ends_takes_its_memory_files_along(lender: Lender, way: str) -> None:
    begun, large = threading.Event(), b"x" * (1 << 20)
    with app.run():
        for _ in range(3):
            assert add.remote(large, b"y") == large + b"y"
        assert memory_files()

        def begin(sock: socket.socket, call: wire.CallFrame) -> None:
            os.close(call.fd)
            begun.set()
            if way == "lost":
                hang_up(sock, call)

        async def scenario() -> None:
            calling = asyncio.create_task(_await(add.remote.aio(large, b"z")))
            await asyncio.to_thread(begun.wait, 60)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling

        lender.serve = begin
        if way == "cancelled":
            asyncio.run(scenario())
        elif way == "not accepted":
            lender.refusal = "no runner is idle"
            for one in lender.connections:
                one.shutdown(socket.SHUT_RD)
            assert add.remote(large, b"z") == large + b"z"
        else:
            assert add.remote(large, b"z") == large + b"z"
        wait_until(lambda: not memory_files(), "the lender, in this process, to let go of them")


def memory_files() -> int:
    """Descriptors of memory files in this process."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += "rekindle-value" in os.readlink(f"/proc/self/fd/{fd}")
    return found


def test_what_cannot_travel_is_the_same_error_and_costs_no_lease(
    lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.run():
        assert add.remote(1) == 1
        with pytest.raises(SerializationError, match=r"args\[0\] is a _thread.lock"):
            add.remote(threading.Lock())
        monkeypatch.setattr(invocation, "MAX_PAYLOAD_BYTES", 1000)
        monkeypatch.setattr("rekindle.sdk.calls.arguments.MAX_PAYLOAD_BYTES", 1000)
        with pytest.raises(RequestSizeError, match=r"the arguments of add\(\)"):
            add.remote(b"x" * 2000)
        assert add.remote(5) == 5
    assert lender.lease_requests == 1 and len(lender.calls) == 2


def test_leases_that_are_over_are_let_go_when_fewer_are_used(lender: Lender) -> None:
    with app.run():
        add.remote(1)
        cache = next(iter(lease_caches._caches.values()))
        held = [background().run(cache.ask()) for _ in range(5)]
        for one in held:
            assert one is not None
            cache.give_back(one)
        for connection in lender.connections[:-1]:
            connection.shutdown(socket.SHUT_RDWR)
        for i in range(10):
            assert add.remote(i) == i
        assert len(cache.idle) == 1


@pytest.mark.parametrize("ways", ["first", "on a lease"])
def test_a_call_whose_app_ends_in_its_program_meanwhile_is_given_up_and_begun_nowhere_else(
    lender: Lender, ways: str
) -> None:
    """A thread that waits while the program is interrupted: nothing may be begun as that ends."""
    begun, over = threading.Event(), threading.Event()

    def serve(sock: socket.socket, call: wire.CallFrame) -> None:
        begun.set()
        assert over.wait(60)
        hang_up(sock, call)

    with ThreadPoolExecutor(1) as pool:
        with app.run():
            if ways == "on a lease":
                assert add.remote(1, 1) == 2
            lender.serve = serve
            waits = pool.submit(add.remote, 1, 2)
            assert begun.wait(60)
        over.set()
        with pytest.raises(ExecutionError, match="its app has ended in this program"):
            waits.result(60)
    assert not lender.submitted
