"""Many inputs in one order: how they are dealt to runners, and what one does to the others."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from rekindle.wire import rekindle_pb2 as pb
from tests.runtime.agent.harness import Gate, Harness, run


class Crunch:
    """Quick and slow inputs."""

    def load(self) -> None:
        self.answer = 42

    def same(self, value: int) -> int:
        return value

    def nap(self, value: int, seconds: float) -> int:
        time.sleep(seconds)
        return value

    def wait(self, value: int, gate: str) -> int:
        if gate:
            os.close(os.open(gate, os.O_RDONLY))
        return value

    def busy(self, value: int, gate: str) -> int:
        """C code that holds the interpreter: nothing else in this process can do anything."""
        import ctypes

        if gate:
            os.close(ctypes.PyDLL(None).open(gate.encode(), os.O_RDONLY))
        return value

    def begin(self, value: int, begun: str, gate: str) -> int:
        """Leaves its runner's name in a directory, and waits."""
        import socket

        open(os.path.join(begun, socket.gethostname()), "w").close()
        return self.wait(value, gate)

    def odd_fails(self, value: int) -> int:
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value

    def talk(self, value: int) -> int:
        print(f"input {value}")
        return value

    def big(self, size: int) -> bytes:
        return bytes(size)

    def crash_at(self, value: int, at: int) -> int:
        if value == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    def note(self, value: int, ledger: str) -> int:
        fd = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{value}\n".encode())
        os.close(fd)
        time.sleep(0.0003)
        return value

    def die(self) -> None:
        os._exit(7)


@pytest.mark.parametrize("snapshot", [False, True])
def test_many_inputs_in_one_order_each_have_their_own_result(home: Path, snapshot: bool) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, enable_memory_snapshot=snapshot)
        keys = h.submit_many(crunch, "same", ((i,) for i in range(1000)))
        outcomes = await h.results(keys)
        assert [outcome.value for outcome in outcomes] == list(range(1000))
        assert h.node.in_flight.inputs == 0

    run(home, scenario, max_runners=2)


def test_quick_inputs_travel_in_slices_and_their_results_together(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=1)
        await h.results(h.submit_many(crunch, "same", [(0,)]))
        before = h.uplink.done_messages
        await h.results(h.submit_many(crunch, "same", ((i,) for i in range(2000))))
        assert h.uplink.done_messages - before < 200

    run(home, scenario)


def test_slow_inputs_are_spread_over_the_runners_one_at_a_time(home: Path, tmp_path: Path) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=4, min_containers=4)
        h.node.open(pb.OpenFunction(function_id=crunch, app_id="ap-test"))
        await h.uplink.until(lambda: len(h.runners(crunch)) == 4)
        await h.results(h.submit_many(crunch, "nap", ((i, 0.06) for i in range(4))))
        begun = tmp_path / "begun"
        begun.mkdir()
        with Gate(tmp_path) as gate:
            each = ((i, str(begun), gate.path) for i in range(16))
            keys = h.submit_many(crunch, "begin", each)
            await h.uplink.until(lambda: len(list(begun.iterdir())) == 4)
            assert len(h.node.inventory.pools[crunch, ""].waiting) == 12
            gate.open()
            outcomes = await h.results(keys)
        assert [outcome.value for outcome in outcomes] == list(range(16))

    run(home, scenario)


def test_a_failing_input_fails_alone(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=1)
        outcomes = await h.results(h.submit_many(crunch, "odd_fails", ((i,) for i in range(100))))
        for i, outcome in enumerate(outcomes):
            if i % 2:
                assert outcome.result.status == pb.FAILURE
                assert outcome.result.message == f"{i} is odd"
            else:
                assert outcome.value == i

    run(home, scenario)


@pytest.mark.parametrize("method", ["wait", "busy"])
def test_a_slow_input_holds_up_neither_those_before_it_nor_those_behind_it(
    home: Path, tmp_path: Path, method: str
) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=2)
        # So many quick ones that the pool hands out large slices.
        await h.results(h.submit_many(crunch, method, ((i, "") for i in range(500))))
        with Gate(tmp_path) as gate:
            gates = ((i, gate.path if i == 40 else "") for i in range(300))
            keys = h.submit_many(crunch, method, gates)
            await h.results([key for key in keys if key[1] != 40])
            assert keys[40] not in h.uplink.results
            gate.open()
            assert (await h.result(keys[40])).value == 40

    run(home, scenario)


def test_the_record_of_each_input_explains_its_total(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=1)
        outcomes = await h.results(h.submit_many(crunch, "nap", ((i, 0.003) for i in range(60))))
        for outcome in outcomes:
            marks = outcome.result.marks
            ends = [mark.at_ns for mark in marks]
            assert ends == sorted(ends)
            assert [mark.phase for mark in marks][-2:] == ["load_input", "execute"]
            assert outcome.phases["execute"] >= 3
            total_ms = (outcome.done_ns - outcome.result.submitted_ns) / 1e6
            assert sum(outcome.phases.values()) <= total_ms
        assert outcomes[0].strategy == "cold" and "import" in outcomes[0].phases
        assert {outcome.strategy for outcome in outcomes[1:]} == {"warm"}
        # Each waits for those before it.
        assert outcomes[59].phases["queue"] >= 59 * 3

    run(home, scenario)


def test_lines_of_a_slice_come_before_their_results_under_their_call(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=1)
        for _ in range(3):
            keys = h.submit_many(crunch, "talk", ((i,) for i in range(200)))
            await h.results(keys)
            mine = h.uplink.printed(call_id=keys[0][0])
            assert mine == [f"input {i}" for i in range(200)]

    run(home, scenario)


def test_results_larger_than_the_shared_page_arrive_whole(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_BLOB_THRESHOLD_BYTES", "0")

    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=1)
        sizes = [10, 100_000, 200_000, 300_000, 5, 20_000_000, 7]
        outcomes = await h.results(h.submit_many(crunch, "big", ((size,) for size in sizes)))
        assert [len(outcome.value) for outcome in outcomes] == sizes

    run(home, scenario)


def test_only_the_input_that_is_over_its_timeout_is_to_blame(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, timeout_s=1.0, max_containers=1)
        await h.results(h.submit_many(crunch, "nap", ((i, 0) for i in range(300))))
        keys = h.submit_many(crunch, "nap", ((i, 60 if i in (30, 31) else 0) for i in range(200)))
        for key, outcome in zip(keys, await h.results(keys), strict=True):
            if key[1] in (30, 31):
                assert outcome.result.status == pb.TIMEOUT
                assert "timeout=1 s" in outcome.result.message
                assert 900 < outcome.phases["execute"] < 30_000
            else:
                assert outcome.value == key[1]
        assert not h.uplink.returned

    run(home, scenario)


def test_a_runner_that_dies_in_a_slice_returns_the_input_it_ran_and_loses_no_other(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=1)
        await h.results(h.submit_many(crunch, "same", ((i,) for i in range(300))))
        keys = h.submit_many(crunch, "crash_at", ((i, 57) for i in range(200)))
        others = [key for key in keys if key[1] != 57]
        await h.results(others)
        await h.uplink.until(lambda: h.uplink.returned)
        (returned,) = h.uplink.returned
        assert list(returned.indexes) == [57] == list(returned.begun)
        assert "SIGKILL" in returned.reason
        assert h.node.in_flight.inputs == 0

    run(home, scenario)


def test_deaths_of_runners_are_blamed_on_the_inputs_that_ran_and_no_other_is_lost(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=3)
        count = 1200
        keys = h.submit_many(crunch, "nap", ((i, 0.002) for i in range(count)))
        for kills in range(6):
            await h.uplink.until(partial(_more_than, h, 100 * kills + 50))
            runners = await h.uplink.until(lambda: h.runners(crunch))
            os.kill(runners[0].channel.pid, signal.SIGKILL)
        await h.uplink.until(
            lambda: len(h.uplink.results) + sum(len(r.indexes) for r in h.uplink.returned) == count
        )
        for returned in h.uplink.returned:
            assert list(returned.indexes) == list(returned.begun)
        lost = {(r.call_id, index) for r in h.uplink.returned for index in r.indexes}
        assert len(lost) <= 6
        for key in keys:
            assert (key in lost) != (key in h.uplink.results)

    run(home, scenario)


def test_runners_that_are_held_up_now_and_then_run_every_input_once(
    home: Path, tmp_path: Path
) -> None:
    """Wherever a runner stands still, what is called back from it is run by nobody else as well."""
    ledger, count = tmp_path / "ledger", 6000

    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=3)
        await h.results(h.submit_many(crunch, "note", ((-1, os.devnull) for _ in range(300))))
        keys: list[tuple[str, int]] = []
        for start in range(0, count, 1000):
            values = ((start + i, str(ledger)) for i in range(1000))
            keys += h.submit_many(crunch, "note", values)
        held_up = 0
        while len(h.uplink.results) < count + 300:
            for runner in h.runners(crunch):
                os.kill(runner.channel.pid, signal.SIGSTOP)
                held_up += 1
                # Longer than it takes to be called back, or not.
                await asyncio.sleep((0.001, 0.03, 0.07)[held_up % 3])
                os.kill(runner.channel.pid, signal.SIGCONT)
                await asyncio.sleep(0.001)
        assert held_up > 10
        assert all(h.uplink.results[key].value == 1000 * n + key[1] for n, key in number(keys))

    run(home, scenario, max_runners=3)
    ran = sorted(map(int, ledger.read_text().split()))
    assert ran == list(range(count))


def number(keys: list[tuple[str, int]]) -> list[tuple[int, tuple[str, int]]]:
    """Which of the orders each key is of."""
    calls = list(dict.fromkeys(call for call, _index in keys))
    return [(calls.index(key[0]), key) for key in keys]


def test_inputs_that_kill_their_runner_hold_up_no_other_and_each_answers_for_itself(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=1)
        bad = h.submit_many(crunch, "die", (() for _ in range(6)))
        good = h.submit_many(crunch, "same", ((i,) for i in range(50)))
        assert [one.value for one in await h.results(good)] == list(range(50))
        await h.uplink.until(lambda: len(h.uplink.returned) == len(bad))
        for returned in h.uplink.returned:
            assert list(returned.indexes) == list(returned.begun)
        assert h.stats(crunch).deaths == 0
        assert not h.stats(crunch).backoff_s

    run(home, scenario)


def test_a_runner_that_dies_with_nothing_to_do_is_a_loop_of_its_pool(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=1, min_containers=1)
        h.node.open(pb.OpenFunction(function_id=crunch, app_id="ap-test"))
        for deaths in range(1, 4):
            runners = await h.uplink.until(lambda: h.runners(crunch))
            os.kill(runners[0].channel.pid, signal.SIGKILL)
            await h.uplink.until(lambda n=deaths: h.stats(crunch).deaths >= n)
        assert h.stats(crunch).backoff_s > 0

    run(home, scenario)


def test_results_are_kept_until_they_are_confirmed_and_sent_again_to_a_new_controller(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=1)
        keys = h.submit_many(crunch, "same", ((i,) for i in range(50)))
        slow = h.submit_many(crunch, "nap", [(1, 30)])
        await h.uplink.until(lambda: all(key in h.uplink.results for key in keys))
        h.node.receiver.acknowledged(pb.AckDone(call_id=keys[0][0], indexes=range(20)))
        (first, second) = h.node.in_flight.hello()
        assert list(first.indexes) == list(range(20, 50)) and list(second.indexes) == [0]
        (again,) = h.node.in_flight.unconfirmed_results()
        assert list(again.indexes) == list(range(20, 50))
        assert [pb.Result.FromString(raw).index for raw in again.results] == list(range(20, 50))
        # The new controller hands out again what it thinks is lost; here it is known.
        h.node.receiver.assign(
            pb.Assign(
                call_id=slow[0][0],
                inputs=[pb.Input(index=0, method="nap")],
                function_id=crunch,
                app_id="ap-test",
                delivery=2,
            )
        )
        assert h.node.in_flight.running == 1
        h.cancel(slow, kill=True)
        assert (await h.result(slow[0])).result.status == pb.CANCELLED

    run(home, scenario)


def test_unconfirmed_results_are_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rekindle.runtime.agent.inputs.inflight.MAX_UNCONFIRMED", 200)

    async def scenario(h: Harness) -> None:
        crunch = h.add(Crunch, max_containers=1)
        keys = h.submit_many(crunch, "same", ((i,) for i in range(2000)))
        await h.uplink.until(lambda: h.node.in_flight.full)
        pool = h.node.inventory.pools[crunch, ""]
        await h.uplink.until(lambda: not pool.runners.busy())
        # What runners had when the bound was reached may come on top of it.
        assert h.node.in_flight.unconfirmed <= 200 + 2 * 128
        while (count := len(h.uplink.results)) < 2000:
            seen = [key[1] for key in h.uplink.results]
            h.node.receiver.acknowledged(pb.AckDone(call_id=keys[0][0], indexes=seen))
            await h.uplink.until(partial(_more_than, h, count))

    run(home, scenario)


def _more_than(h: Harness, count: int) -> bool:
    return len(h.uplink.results) > count
