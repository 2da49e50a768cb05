"""Calls that were sent along with a start, where their runner, app or client ends. Real runners."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from rekindle.exception import StartError
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.runtime.agent.starts import runner_maker
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy
from tests.runtime.agent.harness import PATIENCE_S, Harness, run
from tests.runtime.agent.leases.first_clients import (
    ID,
    Asking,
    Held,
    Worker,
    held_start,
    with_template,
)

pytestmark = pytest.mark.criu


class HeldAtLoad:
    """Waits at a gate while it loads: before its process is told of anybody."""

    who = Worker.who
    load = Held.enter


def test_a_call_is_not_run_where_its_app_is_closed_before_its_runner_is_ready(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        trace = home / "ran"
        async with held_start(h, home, str(trace)) as (_worker, asking, gate):
            h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
            assert await asking.answer() is None
            assert (await asking.fate())["message"] == "its app was closed"
            assert (await asking.fate("another's"))["fate"] == "unknown"
            await h.uplink.until(lambda: h.uplink.closed_apps)  # it waits for no hook
            gate.open()
            assert not trace.exists()

    run(home, scenario)


@pytest.mark.parametrize("recreate", [False, True])
def test_who_waits_for_a_first_runner_whose_pool_ends_is_refused_and_goes_another_way(
    home: Path, recreate: bool
) -> None:
    """By the queue, which has the newer version, or says that there is none."""

    async def scenario(h: Harness) -> None:
        trace = home / "ran"
        async with held_start(h, home, str(trace), code=HeldAtLoad) as (_worker, asking, gate):
            h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test", recreate=recreate))
            told, body = await asking.told()
            assert (told, body) == ({"ok": False}, b"")
            await h.uplink.until(lambda: h.uplink.closed_apps)
            gate.open()
            asking.sock.close()
        assert not trace.exists()

    run(home, scenario)


def test_a_call_is_not_begun_where_its_client_has_gone_before_its_runner_is_ready(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        trace = home / "ran"
        async with held_start(h, home, str(trace)) as (worker, asking, gate):
            asking.sock.close()
            gate.open()
            await h.uplink.until(lambda: [r.state for r in h.runners(worker)] == [RunnerState.IDLE])
            assert not trace.exists() and not h.node.leases._leases
            another = Asking(h, worker, "who", lease=ID[:-1] + "b")
            told, _body = await another.told()
            assert told["lease"] == ID[:-1] + "b"
            assert await another.value() == told["runner"]
            another.sock.close()

    run(home, scenario)


def test_who_lost_its_runner_without_an_answer_is_told_its_fate(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        asking = Asking(h, h.add(Worker), "crash")
        assert await asking.answer() is None
        fate = await asking.fate()
        assert fate["fate"] == "lost" and "SIGKILL" in fate["message"]

    run(home, scenario)


@pytest.mark.parametrize("count", [0, 1])
def test_who_lost_a_spare_or_a_fork_before_that_was_seen_to_be_ready_is_told_its_fate(
    home: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests = dict.fromkeys([Strategy.SPARE, Strategy.FORK], PATIENCE_S)
    monkeypatch.setattr(runner_maker, "_REST_S", rests)

    async def scenario(h: Harness) -> None:
        model = await with_template(h, count)
        asking = Asking(h, model, "crash")
        lease = await h.uplink.until(lambda: h.node.leases.find(ID))
        await h.uplink.until(lease.runner.exit_status.done)
        lease.runner.channel.end_rest()  # now all that it said is read, and its end
        asking.sock.settimeout(PATIENCE_S)
        assert await asking.answer() is None
        fate = await asking.fate()
        assert fate["fate"] == "lost" and "exit status 3" in fate["message"]
        assert lease.runner.strategy is (Strategy.SPARE if count else Strategy.FORK)
        pool = h.node.inventory.pools[(model, "")]
        await h.uplink.until(lambda: not (pool.runners.starting or pool.runners.promised))
        assert not h.node.leases._leases and not pool.runners

    run(home, scenario)


@pytest.mark.parametrize("seen", [False, True], ids=["not_seen_to_be_ready", "seen_to_be_ready"])
def test_a_call_that_a_fork_has_begun_without_a_descriptor_of_ours_for_it_is_given_to_no_other_one(
    home: Path, seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not seen:
        rests = dict.fromkeys([Strategy.SPARE, Strategy.FORK], PATIENCE_S)
        monkeypatch.setattr(runner_maker, "_REST_S", rests)
    calls = home / "calls"

    def noted() -> int:
        return calls.read_text().count("called") if calls.exists() else 0

    async def scenario(h: Harness) -> None:
        model = await with_template(h, 0)
        template = h.revision(model).template
        take_fds, forked = template.channel.take_fds, template._forked
        told: list[Any] = []

        def none_left(count: int) -> list[int]:
            for fd in take_fds(count):
                os.close(fd)
            return [-1] * count

        template._forked = told.append
        asking = Asking(h, model, "note", str(calls))
        asking.sock.settimeout(PATIENCE_S)
        lease = await h.uplink.until(lambda: h.node.leases.find(ID))
        await h.uplink.until(lambda: told and noted() and bool(lease.runner.ready_ns) == seen)
        template._forked = forked
        with monkeypatch.context() as patched:
            patched.setattr(template.channel, "take_fds", none_left)
            forked(told[0])
        await asyncio.to_thread(asking.to_its_end)
        assert (await asking.fate())["fate"] == "lost"
        assert lease.runner.dying and noted() == 1
        pool = h.node.inventory.pools[(model, "")]
        await h.uplink.until(lambda: not (pool.runners.starting or pool.runners.promised))
        assert not h.node.leases._leases

    run(home, scenario)


def test_a_call_that_a_runner_may_have_begun_is_given_to_no_other_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    become_ready = Runner.become_ready

    async def scenario(h: Harness) -> None:
        model = await with_template(h, 0)
        with monkeypatch.context() as patched:

            async def fails(runner: Runner, timeout_s: float) -> None:
                patched.undo()
                await become_ready(runner, timeout_s)
                raise StartError("what comes after that")

            patched.setattr(Runner, "become_ready", fails)
            asking = Asking(h, model, "note", str(home / "calls"))
            asking.sock.settimeout(PATIENCE_S)
            pool = h.node.inventory.pools[(model, "")]
            await h.uplink.until(
                lambda: [one.state for one in h.runners(model)] == [RunnerState.IDLE]
            )
        assert not h.runners(model)[0].lent
        await asyncio.to_thread(asking.to_its_end)
        assert (await asking.fate())["fate"] == "lost"
        assert not h.node.leases._leases
        calls = home / "calls"
        assert not calls.exists() or calls.read_text().count("called") <= 1
        assert (await h.call(model, "environment")).value
        assert not (pool.runners.starting or pool.runners.promised)

    run(home, scenario)
