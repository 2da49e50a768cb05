"""Clients of this machine whose connection goes to a runner with its start. Real runners."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from rekindle.runtime.agent.runners.runner import RunnerState
from rekindle.wire import direct_frames as wire
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.frames import Header
from rekindle.wire.shared import pack_input
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.leases.first_clients import (
    ID,
    Asking,
    Model,
    Worker,
    held_start,
    with_template,
)

pytestmark = pytest.mark.criu


class Prints:
    """Its hook prints."""

    who = Worker.who

    def enter(self) -> None:
        print("in the hook")


class DiesOnce:
    """Its first runner that is forked dies before it is ready."""

    who = Worker.who

    def load(self) -> None:
        self.loaded = True

    def enter(self) -> None:
        died = Path(os.environ["DIED"])
        if not died.exists():
            died.touch()
            os._exit(3)  # the first of a namespace is not killed from within


class Fails:
    """Its hook fails."""

    who = Worker.who

    def enter(self) -> None:
        raise RuntimeError("no weights")


@pytest.mark.parametrize("strategy", ["cold", "restore", "fork", "spare"])
def test_a_call_that_is_sent_along_is_answered_with_the_start_of_its_runner(
    home: Path, strategy: str
) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker, enable_memory_snapshot=strategy != "cold")
        if strategy != "cold":
            assert (await h.call(worker, "who")).value
            assert (await h.prepare(worker, strategy)).ok
        asking = Asking(h, worker, "who", strategy=strategy)
        told, _body = await asking.told()
        assert told["ok"] and told["lease"] == ID and told["once"]
        assert told["began"][0] == strategy
        steps = {"cold": {"isolate", "interpreter", "import"}, "restore": {"restore"}}
        marks = [name for name, _at in told["marks"]]
        assert steps.get(strategy, {"fork"}) | {"reseed"} <= set(marks)
        assert len(marks) == len(set(marks))
        assert await asking.value() == told["runner"]
        asking.sock.close()
        await h.uplink.until(lambda: told["runner"] not in [r.id for r in h.runners(worker)])

    run(home, scenario)


def test_an_idle_runner_tells_what_was_granted_before_it_answers(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        worker = h.add(Worker)
        assert (await h.call(worker, "who")).value
        (runner,) = h.runners(worker)
        await h.uplink.until(lambda: runner.state is RunnerState.IDLE)
        asking = Asking(h, worker, "who")
        told, _body = await asking.told()
        assert told["runner"] == runner.id and not told["began"]
        assert await asking.value() == runner.id
        asking.sock.close()
        await h.uplink.until(lambda: runner.state is RunnerState.IDLE)

    run(home, scenario)


def test_one_that_sends_its_call_later_is_told_as_soon_as_its_runner_is_ready(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        asking = Asking(h, h.add(Worker), "", sent=False)
        told, _body = await asking.told()
        wire.send_call(asking.sock, "fc-1", "who", pack_input((), {}))
        assert await asking.value() == told["runner"]
        asking.sock.close()

    run(home, scenario)


@pytest.mark.parametrize("count", [0, 1])
def test_a_spare_or_a_fork_is_told_in_the_moment_in_which_a_client_asks(
    home: Path, count: int
) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_template(h, count, secrets={"MY_SECRET": "of this start"})
        pool = h.node.inventory.pools[(model, "")]
        tasks: list[Any] = []
        tell = pool.starter._tell

        def telling(*told: Any) -> None:
            tasks.append(asyncio.current_task())
            tell(*told)

        pool.starter._tell = telling
        asking = Asking(h, model, "environment")
        told, _body = await asking.told()
        assert told["began"][0] == ("spare" if count else "fork")
        assert tasks == [None]  # by what took the client in, and not by a task of a later turn
        assert await asking.value() == {
            "MY_SECRET": "of this start",
            "REKINDLE_RUNNER_ID": told["runner"],
            "REKINDLE_DIR": str(h.node.context.settings.instance_dir),
            "REKINDLE_APP_ID": "ap-test",
        }
        asking.sock.close()

    run(home, scenario)


@pytest.mark.parametrize("count", [0, 1])
def test_a_client_is_told_that_another_python_runs_its_spare_or_fork(
    home: Path, count: int
) -> None:
    gone = "/nowhere/venv/bin/python"

    async def scenario(h: Harness) -> None:
        model = h.add(Model, enable_memory_snapshot=True, spare_containers=count, python=gone)
        assert (await h.prepare(model, "fork")).ok
        pool = h.node.inventory.pools[(model, "")]
        pool.starter._first = False  # that one would be the ladder's
        template = h.revision(model).template
        await h.uplink.until(lambda: len(template.spares.waiting) == count)
        begun = []
        begin = pool.starter.begin

        def noting(*asked: Any) -> Any:
            begun.append(begin(*asked))
            return begun[-1]

        pool.starter.begin = noting
        asking = Asking(h, model, "environment")
        told, _body = await asking.told()
        assert begun and begun[0] is not None
        assert told["began"][0] == ("spare" if count else "fork")
        (note,) = told["notes"]
        assert gone in note
        assert await asking.value()
        await h.uplink.until(lambda: begun[0].runner.notes == [note])
        asking.sock.close()

    run(home, scenario)


def test_what_a_spare_was_given_ahead_is_not_told_again_and_another_pool_s_is_put_right(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_template(h, 1)
        template = h.revision(model).template
        (spare,) = template.spares.waiting
        orders: list[Header] = []
        send = spare.channel.send_with_fds

        def noting(order: Header, fds: list[int]) -> None:
            orders.append(order)
            send(order, fds)

        spare.channel.send_with_fds = noting
        template.spares.env = {**template.spares.env, "REKINDLE_APP_ID": "ap-another"}
        first = Asking(h, model, "environment")
        first_told, _body = await first.told()
        assert [order["env"] for order in orders] == [{}]
        assert (await first.value())["REKINDLE_RUNNER_ID"] == first_told["runner"]
        await h.uplink.until(lambda: template.spares.waiting)
        second = Asking(h, model, "environment", lease=ID[:-1] + "b")
        second_told, _body = await second.told()
        assert second_told["began"][0] == "spare"
        assert (await second.value())["REKINDLE_APP_ID"] == "ap-test"
        first.sock.close()
        second.sock.close()

    run(home, scenario)


def test_a_start_that_could_not_be_told_at_once_is_the_ladders_and_holds_no_place(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        model = await with_template(h, 1)
        pool = h.node.inventory.pools[(model, "")]
        with monkeypatch.context() as patched:

            def fails(*_args: object) -> None:
                patched.undo()
                raise RuntimeError("of no kind that is known")

            patched.setattr(pool.starter, "_tell", fails)
            asking = Asking(h, model, "environment")
            granted, _body = await asking.told()
        assert granted["ok"] and await asking.answer() is not None
        await h.uplink.until(lambda: not (pool.runners.starting or pool.runners.promised))

    run(home, scenario)


def test_lines_of_the_start_are_marked_with_those_of_the_first_call(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        asking = Asking(h, h.add(Prints), "who")
        await asking.told()
        reply = await asking.answer()
        assert reply is not None and reply.printed
        lines = h.uplink.lines
        await h.uplink.until(lambda: any(one.stream == "mark" for one in lines))
        mark = next(at for at, one in enumerate(lines) if one.stream == "mark")
        assert "in the hook" in [one.text for one in lines[:mark]]
        asking.sock.close()

    run(home, scenario)


def test_a_start_that_dies_falls_to_the_next_step_and_the_call_is_answered(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        died = home / "died"
        worker = h.add(DiesOnce, enable_memory_snapshot=True, env={"DIED": str(died)})
        died.touch()
        assert (await h.call(worker, "who")).value
        assert (await h.prepare(worker, "restore")).ok
        assert (await h.prepare(worker, "fork")).ok
        for runner in h.runners(worker):
            await h.node.inventory.pools[(worker, "")].stop(runner)
        died.unlink()
        asking = Asking(h, worker, "who")
        told, _body = await asking.told()
        assert died.exists()
        assert any("passed over" in note and "died" in note for note in told["notes"])
        assert await asking.value() == told["runner"]
        asking.sock.close()

    run(home, scenario)


def test_a_hook_that_fails_is_the_answer(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        asking = Asking(h, h.add(Fails), "who")
        told, body = await asking.told()
        failure = pb.Result.FromString(body)
        assert not told["ok"] and failure.message == "no weights"
        assert not h.node.leases._leases

    run(home, scenario)


def test_more_clients_than_runners_are_refused_not_left_waiting(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        async with held_start(h, home, max_containers=1) as (worker, first, gate):
            second = Asking(h, worker, "who", lease=ID[:-1] + "b")
            told, body = await second.told()
            assert not told["ok"] and not body
            gate.open()
            assert (await first.told())[0]["ok"] and await first.value()
            first.sock.close()

    run(home, scenario)


@pytest.mark.parametrize("wrong", [{"token": "another's"}, {"lease": "le-1"}, {"params": "x"}])
def test_an_ask_that_is_not_right_is_hung_up_on(home: Path, wrong: dict[str, str]) -> None:
    async def scenario(h: Harness) -> None:
        assert await Asking(h, h.add(Worker), "who", **wrong).answer() is None
        assert not h.node.leases._leases

    run(home, scenario)
