"""Clients of this machine whose connection goes to a runner with its start. Real runners."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rekindle import paths
from rekindle.exception import StartError
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.runtime.agent.starts import runner_maker
from rekindle.wire import direct_frames as wire
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.exceptions import ExceptionRecord
from rekindle.wire.frames import FrameSocket, Header, pack_frame
from rekindle.wire.node_token import node_token
from rekindle.wire.phases import Strategy
from rekindle.wire.shared import pack_input, unpack
from tests.runtime.agent.harness import PATIENCE_S, Gate, Harness, run

pytestmark = pytest.mark.criu

ID = "le-00000000000000aa"


class Worker:
    """Says where it ran, and leaves a trace."""

    def who(self, trace: str = "") -> str:
        if trace:
            Path(trace).touch()
        return socket.gethostname()

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def talk(self) -> None:
        print("in the call")


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


class Held:
    """Its hook waits at a gate, and says that it does."""

    who = Worker.who

    def enter(self) -> None:
        Path(os.environ["HELD"]).touch()
        with open(os.environ["GATE"]) as gate:
            gate.read(0)


class HeldAtLoad:
    """So does this one, before its process is told of anybody."""

    who = Worker.who
    load = Held.enter


class Asking:
    """A client's connection, with a call sent along."""

    def __init__(self, h: Harness, function_id: str, method: str, *args: Any, **ask: Any) -> None:
        h.node.local_clients._token = "secret"
        self.path = str(paths.direct_socket(h.home / "instance"))
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)
        self.token = node_token("secret", "ap-test")
        hello = {
            "ask": function_id,
            "lease": ID,
            "params": "",
            "depth": 0,
            "strategy": "",
            "measure": False,
            "sent": True,
            "token": self.token,
        } | ask
        call = b""
        if hello["sent"]:
            call = wire.call_frame("fc-1", method, pack_input(args, {}))
        self.sock.sendall(pack_frame(hello) + call)

    async def told(self) -> tuple[Header, bytes]:
        header, body, _fds = await asyncio.to_thread(FrameSocket(self.sock).receive)
        return header, body

    async def answer(self) -> wire.ReplyFrame | None:
        try:
            return await asyncio.to_thread(wire.receive_reply, self.sock)
        except ConnectionResetError:  # closed with what was sent
            return None

    def to_its_end(self) -> None:
        """Read until it is closed, whatever was said."""
        with contextlib.suppress(ConnectionResetError):
            while self.sock.recv(1 << 16):
                continue

    async def value(self) -> Any:
        reply = await self.answer()
        assert reply is not None
        value = unpack(reply.data, reply.take_fd())
        assert reply.status == wire.OK, ExceptionRecord(*value).traceback
        return value

    async def fate(self, token: str = "") -> Header:
        def ask() -> Header:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(self.path)
                frames = FrameSocket(sock)
                frames.send({"fate": ID, "token": token or self.token})
                return frames.receive()[0]

        return await asyncio.to_thread(ask)


@asynccontextmanager
async def held_start(
    h: Harness, home: Path, *args: Any, **options: Any
) -> AsyncIterator[tuple[str, Asking, Gate]]:
    """A function, a client that asked for its first runner, and the gate that its hook waits at."""
    with Gate(home) as gate:
        held = home / "held"
        worker = h.add(Held, env={"HELD": str(held), "GATE": gate.path}, **options)
        asking = Asking(h, worker, "who", *args)
        await h.uplink.until(held.exists)
        yield worker, asking, gate


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


class Model:
    """Has a template and spares, and says what its runner has around it."""

    def load(self) -> None:
        self.loaded = True

    def environment(self) -> dict[str, str | None]:
        names = ("MY_SECRET", "REKINDLE_RUNNER_ID", "REKINDLE_DIR", "REKINDLE_APP_ID")
        return {name: os.environ.get(name) for name in names}

    def crash(self) -> None:
        os._exit(3)

    def note(self, path: str) -> None:
        with open(path, "a") as file:
            file.write("called\n")


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


async def with_template(h: Harness, spares: int, **options: Any) -> str:
    """A function without a runner, whose template stays as it is, with so many spares."""
    options["spare_containers"] = spares
    model = h.add(Model, enable_memory_snapshot=True, **options)
    for strategy in ("restore", "fork"):
        assert (await h.prepare(model, strategy)).ok
    template = h.revision(model).template
    await h.uplink.until(lambda: len(template.spares.waiting) == spares)
    return model


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
        trace, held = home / "ran", home / "held"
        with Gate(home) as gate:
            worker = h.add(HeldAtLoad, env={"HELD": str(held), "GATE": gate.path})
            asking = Asking(h, worker, "who", str(trace))
            await h.uplink.until(held.exists)
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
