"""Cancellation: inputs that wait never start, the one that runs is told, and nobody else is hit."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from rekindle.runtime.agent.pools import runner_monitor
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.page import CANCEL_SIGNAL
from tests.runtime.agent.harness import Harness, Outcome, run


class Worker:
    """Goes on until it is told."""

    def load(self) -> None:
        self.ready = True

    def ping(self, value: int = 0) -> int:
        return value

    def sleep(self, value: int, seconds: float) -> int:
        print("begun", flush=True)
        time.sleep(seconds)
        return value

    def spin(self, seconds: float) -> str:
        print("begun", flush=True)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        return "done"

    def clean_up(self) -> str:
        from rekindle.exception import InputCancellation

        try:
            print("begun", flush=True)
            time.sleep(60)
        except InputCancellation as error:
            print(f"cleaned up: {error}", flush=True)
            return "nobody wants this"
        return "not cancelled"

    def catch_exceptions(self) -> str:
        try:
            print("begun", flush=True)
            time.sleep(60)
        except Exception:  # noqa: BLE001 - what users write, and what must not swallow it
            return "swallowed"
        return "not cancelled"

    async def await_it(self) -> str:
        print("begun", flush=True)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("task cancelled", flush=True)
            raise
        return "not cancelled"

    async def await_quickly(self, value: int) -> int:
        await asyncio.sleep(0)
        return value

    def sleep_in_c(self, seconds: float) -> str:
        """One long call that holds the interpreter and goes on when a signal comes."""
        import ctypes

        print("begun", flush=True)
        c = ctypes.PyDLL(None)
        lock = ctypes.create_string_buffer(64)
        c.pthread_mutex_init(lock, None)
        c.pthread_mutex_lock(lock)
        c.pthread_mutex_lock(lock)  # for ever
        return "done"

    def sleep_after_the_signal(self, seconds: float) -> str:
        """Python does not look at the signal that ends the pause before it sleeps."""
        import collections
        import ctypes
        import functools
        import operator

        sleep = functools.partial(time.sleep, seconds)
        print("begun", flush=True)
        pause = ctypes.PyDLL(None).pause
        collections.deque(map(operator.call, [pause, sleep]), maxlen=0)
        return "done"

    def handlers(self) -> list[str]:
        import signal

        names = []
        for number in range(1, signal.NSIG):
            try:
                handler = signal.getsignal(number)
            except ValueError:
                continue
            if callable(handler) and handler is not signal.default_int_handler:
                names.append(str(number))
        return names


async def begun(h: Harness, count: int = 1) -> None:
    await h.uplink.until(lambda: h.uplink.printed().count("begun") >= count)


def cancelled(outcome: Outcome) -> bool:
    return outcome.result.status == pb.CANCELLED


@pytest.mark.parametrize("strategy", ["cold", "fork", "restore"])
def test_a_sleeping_input_gets_the_cancellation_and_its_runner_goes_on(
    home: Path, strategy: str
) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(
            Worker, enable_memory_snapshot=strategy != "cold", max_containers=1, spare_containers=0
        )
        if strategy != "cold":
            assert (await h.prepare(worker, strategy)).ok
        keys = [h.submit(worker, "sleep", 1, 60)]
        await begun(h)
        (runner,) = h.runners(worker)
        assert runner.strategy.value == strategy
        h.cancel(keys)
        outcome = await h.result(keys[0])
        assert cancelled(outcome)
        assert outcome.phases["execute"] < 20_000
        after = await h.call(worker, "ping", 5)
        assert after.value == 5 and after.result.runner_id == runner.id

    run(home, scenario)


def test_python_code_that_computes_is_interrupted(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=1)
        key = h.submit(worker, "spin", 60)
        await begun(h)
        h.cancel([key])
        assert cancelled(await h.result(key))
        assert (await h.call(worker, "ping")).strategy == "warm"

    run(home, scenario)


def test_user_code_may_clean_up_and_the_result_is_cancelled_whatever_it_returns(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=1)
        for count, method in enumerate(("clean_up", "catch_exceptions"), 1):
            key = h.submit(worker, method)
            await begun(h, count)
            h.cancel([key])
            assert cancelled(await h.result(key))
        assert "cleaned up: the input was cancelled" in h.uplink.printed()

    run(home, scenario)


def test_the_task_of_an_async_function_is_cancelled(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=1)
        for count in (1, 2):
            key = h.submit(worker, "await_it")
            await begun(h, count)
            h.cancel([key])
            assert cancelled(await h.result(key))
            assert h.uplink.printed().count("task cancelled") == count
            assert (await h.call(worker, "await_quickly", count)).value == count

    run(home, scenario)


def test_code_that_never_returns_to_the_interpreter_is_ended_with_its_runner(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_monitor, "CANCEL_GRACE_S", 0.5)

    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=1)
        key = h.submit(worker, "sleep_in_c", 60)
        await begun(h)
        (runner,) = h.runners(worker)
        await h.uplink.until(lambda: "futex" in _waits_in(runner.channel.pid))
        h.cancel([key])
        assert cancelled(await h.result(key))
        assert (await h.call(worker, "ping")).strategy == "cold"

    run(home, scenario)


def test_a_signal_that_came_just_before_a_blocking_call_is_sent_again(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=1)
        key = h.submit(worker, "sleep_after_the_signal", 3600)
        await begun(h)
        (runner,) = h.runners(worker)
        await h.uplink.until(lambda: "pause" in _waits_in(runner.channel.pid))
        h.cancel([key])
        assert cancelled(await h.result(key))
        assert (await h.call(worker, "ping")).result.runner_id == runner.id

    run(home, scenario)


def test_inputs_that_wait_never_start(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=1)
        blocking = h.submit(worker, "sleep", 0, 60)
        await begun(h)
        waiting = h.submit_many(worker, "sleep", ((i, 60) for i in range(300)))
        other = h.submit(worker, "ping", 7)
        h.cancel(waiting)
        assert all(map(cancelled, await h.results(waiting)))
        h.cancel([blocking])
        assert cancelled(await h.result(blocking))
        assert (await h.result(other)).value == 7
        assert h.uplink.printed().count("begun") == 1

    run(home, scenario)


def test_a_whole_slice_is_cancelled_and_other_calls_are_not(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=1)
        await h.results(h.submit_many(worker, "ping", ((i,) for i in range(500))))
        doomed = h.submit_many(worker, "sleep", ((i, 60 if i == 20 else 0) for i in range(400)))
        kept = h.submit_many(worker, "ping", ((i,) for i in range(400)))
        await h.uplink.until(lambda: doomed[19] in h.uplink.results)
        h.cancel(doomed)
        outcomes = await h.results(doomed)
        assert all(cancelled(outcome) for outcome in outcomes[20:])
        assert [outcome.value for outcome in await h.results(kept)] == list(range(400))
        assert h.uplink.printed().count("begun") < 200

    run(home, scenario)


def test_killing_ends_the_runner_and_its_other_inputs_run_elsewhere(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=1)
        await h.results(h.submit_many(worker, "ping", ((i,) for i in range(500))))
        keys = h.submit_many(worker, "sleep", ((i, 60 if i == 20 else 0) for i in range(200)))
        await h.uplink.until(lambda: keys[19] in h.uplink.results)
        h.cancel([keys[20]], kill=True)
        outcomes = await h.results(keys)
        assert cancelled(outcomes[20])
        others = [outcome.value for outcome in outcomes if outcome.result.index != 20]
        assert others == [i for i in range(200) if i != 20]
        assert not h.uplink.returned

    run(home, scenario)


@pytest.mark.parametrize("method", ["ping", "await_quickly"])
def test_a_late_cancellation_hits_nobody(home: Path, method: str) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=1)
        await h.call(worker, "ping")
        (runner,) = h.runners(worker)
        hit = 0
        for round_number in range(400):
            first = h.submit(worker, method, round_number)
            second = h.submit(worker, method, -round_number)
            if round_number % 3 == 0:
                await asyncio.sleep(0)
            h.cancel([first])
            os.kill(runner.channel.pid, CANCEL_SIGNAL)  # and once more, for nobody
            outcome = await h.result(first)
            hit += cancelled(outcome)
            assert cancelled(outcome) or outcome.value == round_number
            assert (await h.result(second)).value == -round_number
        assert hit > 0
        assert [one.id for one in h.runners(worker)] == [runner.id]

    run(home, scenario)


def test_only_runners_have_the_signal_and_nothing_else_is_changed_for_the_user(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, enable_memory_snapshot=True)
        handled = [str(int(number)) for number in (signal.SIGINT, CANCEL_SIGNAL)]
        assert (await h.call(worker, "handlers")).value == handled
        template = h.revision(worker).template
        caught = _caught(template.channel.pid)
        assert not caught & 1 << (CANCEL_SIGNAL - 1)

    run(home, scenario)


def _waits_in(pid: int) -> str:
    return Path(f"/proc/{pid}/wchan").read_text()


def _caught(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return int(line.split()[1], 16)
    raise AssertionError("no SigCgt")
