"""Pools on one node: sizes, scaling down, single use, timeouts, and inputs whose runner dies."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from rekindle.runtime.agent import node
from rekindle.runtime.agent.closing import close_pool
from rekindle.runtime.agent.pools import ramp
from rekindle.runtime.agent.pools.pool import Lack
from rekindle.runtime.agent.pools.ramp import places_here
from rekindle.runtime.agent.starts.pending import FirstClient
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy
from tests.runtime.agent.harness import Gate, Harness, run


class Worker:
    """Does as it is told."""

    def pid(self) -> str:
        import socket

        return socket.gethostname()

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return self.pid()

    def wait(self, gate: str) -> None:
        os.close(os.open(gate, os.O_RDONLY))

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)

    def leave(self) -> None:
        raise SystemExit(3)

    def vanish(self) -> None:
        os._exit(3)

    def fail(self) -> None:
        raise LookupError("no such thing")

    def lock(self) -> object:
        import threading

        return threading.Lock()

    def talk(self) -> str:
        import subprocess
        import sys

        print("one")
        print("two", file=sys.stderr)
        print("three", end="", flush=True)
        subprocess.run(["echo", "from a child"], check=True)
        return "done"

    def exit_(self) -> None:
        print("goodbye")


def test_max_containers_bounds_the_runners_and_inputs_wait_their_turn(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=2)
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, len(h.runners(worker)))
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        with Gate(home) as gate:
            keys = [h.submit(worker, "wait", gate.path) for _ in range(6)]
            await h.uplink.until(lambda: len(h.runners(worker)) == 2)
            gate.open()
            for key in keys:
                await h.result(key)
        watching.cancel()
        assert most <= 2  # two were seen above, and may be gone at its next look

    run(home, scenario)


def test_min_containers_are_started_when_the_app_opens_and_survive_idling(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, min_containers=2, scaledown_window_s=0.3)
        h.node.open(pb.OpenFunction(function_id=worker, app_id="ap-test"))
        await h.uplink.until(lambda: len(h.runners(worker)) == 2)
        # One that is idle after them, and not kept: when it goes, their window is over too.
        other = h.add(Worker, scaledown_window_s=0.3)
        await h.call(other, "pid")
        await h.uplink.until(lambda: not h.runners(other))
        assert len(h.runners(worker)) == 2
        assert (await h.call(worker, "pid")).strategy == "warm"
        killed, other_one = h.runners(worker)
        os.kill(killed.channel.pid, signal.SIGKILL)
        # Another may be there before anyone looks: a process that has booted waits for it.
        await h.uplink.until(lambda: killed not in h.runners(worker))
        await h.uplink.until(lambda: len(h.runners(worker)) == 2)
        assert other_one in h.runners(worker)

    run(home, scenario)


def test_an_idle_runner_is_stopped_after_its_window_and_its_exit_hook_runs(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, scaledown_window_s=0.3)
        await h.call(worker, "pid")
        await h.uplink.until(lambda: not h.runners(worker))
        await h.uplink.until(lambda: "goodbye" in h.uplink.printed())

    run(home, scenario)


def test_buffer_containers_keep_an_idle_runner_ready_while_active(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, buffer_containers=1)
        key = h.submit(worker, "sleep", 60)
        await h.uplink.until(lambda: len(h.runners(worker)) == 2)
        assert (await h.call(worker, "pid")).strategy == "warm"
        h.cancel([key], kill=True)
        await h.result(key)

    run(home, scenario)


def test_single_use_containers_serve_one_input_each(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, single_use_containers=True, enable_memory_snapshot=True)
        hosts = [(await h.call(worker, "pid")).value for _ in range(4)]
        assert len(set(hosts)) == 4
        await h.uplink.until(lambda: not h.runners(worker))

        # However short they are, each client that waits has a runner started for it, at once.
        pool = h.node.inventory.pools[worker, ""]
        assert pool.dispatcher.pace.service_s is not None
        lacks = []
        for starting in range(4):
            pool.runners.starting = starting
            lacks.append(pool.lack(0, asking=3))
        pool.runners.starting = 0
        assert lacks == [Lack.INPUT, Lack.INPUT, Lack.INPUT, None]

    run(home, scenario)


def test_single_use_containers_serve_one_input_each_of_many_that_wait(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, single_use_containers=True, max_containers=2)
        keys = h.submit_many(worker, "pid", (() for _ in range(8)))
        hosts = {outcome.value for outcome in await h.results(keys)}
        assert len(hosts) == 8 and not h.uplink.returned
        await h.uplink.until(lambda: not h.runners(worker))

    run(home, scenario)


def test_of_many_inputs_that_need_a_runner_each_a_few_starts_are_under_way(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ramp, "YOUNG_S", 3600.0)  # none takes so long that it does not count

    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, single_use_containers=True, enable_memory_snapshot=True)
        await h.call(worker, "pid")
        pool = h.node.inventory.pools[worker, ""]
        under_way, begin = list[int](), pool.starts.begin

        def counted(client: FirstClient | None = None, strategy: Strategy | None = None) -> None:
            begin(client, strategy)
            under_way.append(pool.runners.starting)

        monkeypatch.setattr(pool.starts, "begin", counted)
        count = 4 * places_here()
        keys = h.submit_many(worker, "pid", (() for _ in range(count)))
        assert len({outcome.value for outcome in await h.results(keys)}) == count
        assert max(under_way) == places_here()

    run(home, scenario, max_runners=1000)


def test_a_full_node_stops_an_idle_runner_of_another_pool(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        first, second = h.add(Worker), h.add(Worker)
        await h.call(first, "pid")
        await h.call(second, "pid")
        assert not h.runners(first) and len(h.runners(second)) == 1

    run(home, scenario, max_runners=1)


def test_on_a_full_node_a_place_goes_to_the_next_function_at_once_and_no_start_is_in_vain(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No look now and then helps: what frees a place has the next one of the line served."""
    monkeypatch.setattr(node, "RECONCILE_S", 3600.0)

    async def scenario(h: Harness) -> None:
        functions = [h.add(Worker) for _ in range(8)]
        keys = [key for one in functions for key in h.submit_many(one, "pid", [()])]
        await h.results(keys)
        starts = [one.function_id for one in h.node.history.starts]
        assert sorted(starts) == sorted(functions)

    run(home, scenario, max_runners=2)


def test_a_full_node_keeps_a_runner_that_is_dearer_to_start_than_it_has_been_idle(
    home: Path, tmp_path: Path
) -> None:
    async def scenario(h: Harness) -> None:
        first, second = h.add(Worker), h.add(Worker)
        await h.results(h.submit_many(first, "sleep", [(0.2,), (0.2,)]))
        await h.call(second, "pid")  # it had none: one is stopped for it in any case
        assert len(h.runners(first)) == len(h.runners(second)) == 1
        cheap, dear = (h.node.inventory.pools[one, ""].dispatcher.pace for one in (first, second))
        dear.start_s = 600.0
        cheap.start_s = 0.1  # two inputs are worth two runners
        assert cheap.runners_for(2) == 2
        await h.results(h.submit_many(first, "sleep", [(0.2,), (0.2,)]))
        assert len(h.runners(first)) == len(h.runners(second)) == 1
        dear.start_s = 0.5
        with Gate(tmp_path) as gate:
            keys = h.submit_many(first, "wait", [(gate.path,), (gate.path,)])
            await h.uplink.until(lambda: not h.runners(second) and len(h.runners(first)) == 2)
            assert not any(key in h.uplink.results for key in keys)
            gate.open()
            await h.results(keys)

    run(home, scenario, max_runners=2)


def test_an_input_over_its_timeout_is_killed_and_the_next_call_works(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, timeout_s=1.0)
        outcome = await h.call(worker, "sleep", 60)
        assert outcome.result.status == pb.TIMEOUT
        assert "timeout=1 s" in outcome.result.message
        assert outcome.strategy == "cold" and outcome.phases["execute"] > 900
        assert (await h.call(worker, "pid")).value

    run(home, scenario)


def test_a_runner_that_dies_returns_its_input_and_says_how_it_died(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        for method, words in (("crash", "SIGSEGV"), ("vanish", "exit status 3")):
            h.submit(worker, method)
            await h.uplink.until(lambda: h.uplink.returned)
            assert words in h.uplink.returned.pop().reason
        h.submit(worker, "sleep", 60)
        runner = (await h.uplink.until(lambda: h.runners(worker)))[0]
        await h.uplink.until(lambda: runner.state.value == "busy")
        os.kill(runner.channel.pid, signal.SIGKILL)
        await h.uplink.until(lambda: h.uplink.returned)
        assert "SIGKILL" in h.uplink.returned.pop().reason
        assert (await h.call(worker, "pid")).value

    run(home, scenario)


def test_user_exceptions_come_back_with_their_remote_traceback(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        result = (await h.call(worker, "fail")).result
        assert result.status == pb.FAILURE
        assert result.error_type.endswith("LookupError")
        assert "no such thing" in result.message
        assert "in fail" in result.traceback and "rekindle/runtime" not in result.traceback
        left = (await h.call(worker, "leave")).result
        assert left.status == pb.FAILURE and "sys.exit" in left.message
        unpicklable = (await h.call(worker, "lock")).result
        assert unpicklable.error_type == "rekindle.exception.SerializationError"
        assert "Worker.lock" in unpicklable.message
        assert (await h.call(worker, "pid")).value

    run(home, scenario)


def test_a_failing_import_fails_every_waiting_input_with_the_users_exception(home: Path) -> None:
    class Broken:
        def load(self) -> None:
            raise ModuleNotFoundError("No module named 'nonesuch'")

        def ping(self) -> None: ...

    Broken.__module__ = __name__

    async def scenario(h: Harness) -> None:
        broken = h.add(Broken, max_containers=1)
        keys = [h.submit(broken, "ping") for _ in range(5)]
        for key in keys:
            result = (await h.result(key)).result
            assert result.status == pb.START_FAILURE
            assert "nonesuch" in result.message

    run(home, scenario)


def test_output_arrives_line_by_line_in_order_before_the_result(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        outcome = await h.call(worker, "talk")
        assert outcome.value == "done"
        call_id = outcome.result.call_id
        assert h.uplink.printed("stdout", call_id) == ["one", "threefrom a child"]
        assert h.uplink.printed("stderr", call_id) == ["two"]

    run(home, scenario)


def test_closing_an_app_runs_exit_hooks_cancels_what_waits_and_tells_the_controller(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, max_containers=1)
        await h.call(worker, "pid")
        busy, waiting = h.submit(worker, "sleep", 60), h.submit(worker, "pid")
        await h.uplink.until(lambda: any(r.state.value == "busy" for r in h.runners(worker)))
        other = h.add(Worker, app_id="ap-other")
        await h.call(other, "pid")
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        for key in (busy, waiting):
            assert (await h.result(key)).result.status == pb.CANCELLED
        await h.uplink.until(lambda: h.uplink.closed_apps == ["ap-test"])
        assert (await h.call(other, "pid")).strategy == "warm"

    run(home, scenario)


def test_a_pool_closes_while_the_last_of_its_work_has_just_ended(home: Path) -> None:
    """From Python 3.12 on, gather() of ended tasks gives the loop no turn to take them out."""

    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        await h.result(h.submit(worker, "pid"))
        pool = next(iter(h.node.inventory.pools.values()))

        async def closes_in_the_turn_in_which_this_ends() -> None:
            closing.set()

        closing = asyncio.Event()
        ended = pool._tasks.spawn(closes_in_the_turn_in_which_this_ends())
        while not ended.done():
            await asyncio.sleep(0)
        ended.remove_done_callback(pool._tasks._ended)  # as if its turn had not come yet
        assert ended in pool._tasks._tasks
        await close_pool(h.node.leases, pool)

    run(home, scenario)
