"""The ladder of strategies, with real templates, forks and CRIU restores."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from rekindle.linux import niceness
from rekindle.runtime.agent.session.report import stats
from rekindle.runtime.agent.starts.freezing import NICENESS
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts.counter import Counter

pytestmark = pytest.mark.criu


def test_each_strategy_is_really_taken_and_computes_the_same(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        assert (await h.call(counter, "total")).strategy == "cold"
        for strategy in ("restore", "fork", "spare"):
            assert (await h.prepare(counter, strategy)).ok
        pids = set()
        for strategy in ("cold", "restore", "fork", "warm"):
            outcome = await h.call(counter, "total", strategy=strategy)
            assert outcome.strategy == strategy
            assert outcome.value == 499500
            pids.add(outcome.result.runner_id)
        assert len(pids) == 4

    run(home, scenario)


class Nice:
    """How nice it is, with a thread of its own."""

    def load(self) -> None:
        self.niceness = self.of_all()

    def of_all(self) -> list[int]:
        threads = os.listdir("/proc/self/task")
        return [os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in threads]

    def then_and_now(self) -> tuple[list[int], list[int]]:
        return self.niceness, self.of_all()


@pytest.mark.skipif(not niceness.may_lower(), reason="niceness cannot be lowered here")
def test_a_template_that_is_booted_to_be_frozen_gives_way_and_its_copies_do_not(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        booted = min(19, own + NICENESS)  # there is none above that
        nice = h.add(Nice, enable_memory_snapshot=True)
        assert (await h.prepare(nice, "restore")).ok
        outcome = await h.call(nice, "then_and_now", strategy="restore")
        assert outcome.value == ([booted], [own])
        assert (await h.prepare(nice, "fork")).ok
        assert h.revision(nice).template.mapped
        outcome = await h.call(nice, "then_and_now", strategy="fork")
        assert outcome.value == ([booted], [own])

    run(home, scenario)


def test_where_niceness_cannot_be_lowered_again_it_is_not_raised(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(niceness, "may_lower", lambda: False)

    async def scenario(h: Harness) -> None:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        nice = h.add(Nice, enable_memory_snapshot=True)
        assert (await h.prepare(nice, "restore")).ok
        outcome = await h.call(nice, "then_and_now", strategy="restore")
        assert outcome.value == ([own], [own])

    run(home, scenario)


def test_the_ladder_goes_from_cold_to_warm_to_fork_and_after_a_restart_to_restore(
    home: Path,
) -> None:
    async def first(h: Harness) -> None:
        counter = h.add(Counter, digest="same", enable_memory_snapshot=True)
        assert (await h.call(counter, "total")).strategy == "cold"
        assert (await h.call(counter, "total")).strategy == "warm"
        busy = [h.submit(counter, "total") for _ in range(2)]
        strategies = {(await h.result(key)).strategy for key in busy}
        assert strategies <= {"warm", "fork"}
        assert (await h.prepare(counter, "restore")).ok

    async def after_restart(h: Harness) -> None:
        counter = h.add(Counter, digest="same", enable_memory_snapshot=True)
        outcome = await h.call(counter, "total", 5)
        assert outcome.strategy == "restore"
        assert outcome.value == 499505

    run(home, first)
    run(home, after_restart)


class Heavy:
    """Enough memory for a dump to take its time."""

    def load(self) -> None:
        self.memory = os.urandom(100 << 20)

    def size(self) -> int:
        return len(self.memory)


def test_the_first_call_does_not_wait_for_its_snapshot_nor_do_calls_beside_it(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        heavy = h.add(Heavy, enable_memory_snapshot=True)
        assert (await h.call(heavy, "size")).strategy == "cold"
        tracker = h.revision(heavy).tracker
        assert tracker.state in (SnapshotState.ABSENT, SnapshotState.MAKING)
        beside = 0
        while tracker.state is not SnapshotState.READY:
            assert (await h.call(heavy, "size")).value == 100 << 20
            beside += tracker.state is SnapshotState.MAKING
        assert beside > 0  # calls were answered while it was being written

    run(home, scenario)


def test_the_steps_of_a_restore_are_told(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        assert (await h.prepare(counter, "restore")).ok
        outcome = await h.call(counter, "total", strategy="restore")
        steps = as_dict(stats(h.node).restores[outcome.result.runner_id])
        assert list(steps) == ["spawn_criu", "criu", "resume", "reseed"]
        assert all(ms >= 0 for ms in steps.values()) and steps["criu"] > 0

    run(home, scenario)


def test_a_criu_that_dies_without_an_answer_gives_way_to_the_plain_one(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        assert (await h.prepare(counter, "restore")).ok
        waiting = h.node.context.waiting
        assert waiting is not None
        waiting.use_plain()  # those that wait go
        plain = waiting.criu
        waiting.criu = dataclasses.replace(plain, argv=("/bin/false",))
        keys = [h.submit(counter, "total", strategy="restore") for _ in range(6)]
        for key in keys:
            outcome = await h.result(key)
            assert (outcome.strategy, outcome.value) == ("restore", 499500)
        assert waiting.criu is plain
        assert not h.revision(counter).tracker.mapping_failed

    run(home, scenario)


def test_hooks_with_snap_false_run_once_in_each_runner(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        await h.prepare(counter, "restore")
        await h.prepare(counter, "fork")
        for strategy in ("cold", "restore", "fork"):
            assert (await h.call(counter, "entries", strategy=strategy)).value == 1

    run(home, scenario)


def test_phases_explain_the_total_of_every_strategy(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        expected = {
            "cold": {"queue", "isolate", "interpreter", "import", "enter", "reseed"},
            "restore": {"queue", "isolate", "restore", "reseed"},
            "fork": {"queue", "isolate", "fork", "reseed"},
            "warm": {"queue"},
        }
        await h.call(counter, "total")
        await h.prepare(counter, "restore")
        await h.prepare(counter, "fork")
        for strategy, phases in expected.items():
            outcome = await h.call(counter, "total", strategy=strategy)
            assert phases | {"load_input", "execute"} <= set(outcome.phases)
            total_ms = (outcome.done_ns - outcome.result.submitted_ns) / 1e6
            # What is left is the way of the result to the caller, which the caller marks.
            last_ns = outcome.result.marks[-1].at_ns
            assert sum(outcome.phases.values()) == pytest.approx(
                (last_ns - outcome.result.submitted_ns) / 1e6, rel=1e-6
            )
            assert last_ns <= outcome.done_ns and sum(outcome.phases.values()) <= total_ms

    run(home, scenario)


def test_a_killed_template_leaves_its_runners_and_the_next_start_needs_no_boot(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        await h.call(counter, "total")
        assert (await h.prepare(counter, "restore")).ok
        template = h.revision(counter).template
        os.kill(template.channel.pid, signal.SIGKILL)
        await h.uplink.until(template.gone.is_set)
        warm = await h.call(counter, "total", 7)
        assert (warm.strategy, warm.value) == ("warm", 499507)
        for runner in h.runners(counter):
            runner.kill("test")
        h.node.inventory.pools[(counter, "")].runners.clear()
        # From the snapshot, or from a template that was restored from it meanwhile.
        assert (await h.call(counter, "total")).strategy in ("restore", "fork", "spare")

    run(home, scenario)


def test_a_booted_template_gives_way_to_one_that_is_mapped_from_its_snapshot(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        await h.call(counter, "total")
        booted = h.revision(counter).template
        assert not booted.mapped
        await h.uplink.until(lambda: (t := h.revision(counter).live_template()) and t.mapped)
        await h.uplink.until(booted.gone.is_set)
        assert (await h.call(counter, "total", strategy="fork")).value == 499500
        assert (await h.call(counter, "total")).strategy == "warm"

    run(home, scenario)


class HoldsConnection:
    """Opens a TCP connection where it must not."""

    def __init__(self) -> None:  # never called: instances are made without it
        self.port = 0

    def load(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.client = socket.create_connection(self.listener.getsockname())
        self.server, _ = self.listener.accept()

    def ping(self) -> bytes:
        self.client.sendall(b"ping")
        return self.server.recv(4)


def test_an_open_tcp_connection_is_named_with_its_line_and_the_call_is_served(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        holder = h.add(HoldsConnection, enable_memory_snapshot=True)
        outcome = await h.call(holder, "ping")
        assert (outcome.strategy, outcome.value) == ("cold", b"ping")
        prepared = await h.prepare(holder, "restore")
        assert not prepared.ok
        assert "connected TCP socket to 127.0.0.1:" in prepared.reason
        assert "fd " in prepared.reason and "test_ladder.py:" in prepared.reason
        assert "@enter(snap=False)" in prepared.reason
        assert not (await h.prepare(holder, "fork")).ok
        assert not list((home / "snapshots").glob("sn-*"))

    run(home, scenario)


class HasThread:
    """A thread that a fork would lose."""

    def load(self) -> None:
        self.requests: Any = []
        self.bell = threading.Event()
        self.answer = threading.Event()
        threading.Thread(target=self._work, name="pump", daemon=True).start()

    def _work(self) -> None:
        while True:
            self.bell.wait()
            self.bell.clear()
            self.requests.append(len(self.requests))
            self.answer.set()

    def ask(self) -> int:
        self.answer.clear()
        self.bell.set()
        assert self.answer.wait(60)
        return len(self.requests)


def test_a_template_with_a_thread_is_restored_never_forked_and_the_thread_lives(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        threaded = h.add(HasThread, enable_memory_snapshot=True)
        assert (await h.call(threaded, "ask")).value == 1
        assert any("pump" in text for text in h.uplink.printed("system"))
        assert (await h.prepare(threaded, "restore")).ok
        refused = await h.call(threaded, "ask", strategy="fork")
        assert refused.result.status == pb.START_FAILURE
        assert refused.result.error_type == "rekindle.exception.StrategyUnavailableError"
        assert "pump" in refused.result.message
        for _ in range(3):
            outcome = await h.call(threaded, "ask", strategy="restore")
            assert (outcome.strategy, outcome.value) == ("restore", 1)

    run(home, scenario)


def test_a_strategy_that_cannot_be_taken_is_an_error_not_another_strategy(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        plain = h.add(Counter)
        for strategy in ("warm", "fork", "restore"):
            outcome = await h.call(plain, "total", strategy=strategy)
            assert outcome.result.status == pb.START_FAILURE
            assert outcome.result.error_type == "rekindle.exception.StrategyUnavailableError"
            assert outcome.result.message.startswith(strategy)

    run(home, scenario)
