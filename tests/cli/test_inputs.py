"""``rekindle inputs``: what it asks for, and how it shows what it is told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from rekindle.cli.inputs import state_of
from rekindle.wire import rekindle_pb2 as pb
from tests.cli.command import rekindle
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, in_loop, spec
from tests.sdk.fake_controller import FakeController


class Letters(FakeController):
    """A controller with dead letters, of which it knows no more than a list."""

    def __init__(self) -> None:
        self.letters = [
            pb.DeadLetter(
                id=f"fu-{2 - i % 2}/{i}-0",
                call_id=f"fc-call{i}",
                index=i,
                function_id="fu-1" if i % 2 else "fu-2",
                app="shop",
                function="price" if i % 2 else "stock",
                reason=f"the runner was lost 3 times: killed by signal {i}\nmore words",
                error_type="rekindle.exception.RunnerLostError",
                deliveries=3,
                at_ns=time.time_ns() - 300 * 10**9,
                payload_bytes=2048,
            )
            for i in range(1, 4)
        ]
        self.selected: list[pb.DeadLetterSelection] = []
        self.cancelled: list[pb.CancelCallRequest] = []
        super().__init__()

    async def Status(self, request: Any, ctx: Any) -> pb.StatusReply:
        function = {"name": "price", "function_id": "fu-1", "queued": 7, "in_flight": 2}
        return pb.StatusReply(
            apps=[
                {"name": "shop", "functions": [{**function, "oldest_s": 65.0, "dead": 2}]},
                {"name": "idle", "functions": [{"name": "f", "function_id": "fu-9"}]},
                {"name": "staging/shop", "functions": [{"name": "f", "function_id": "fu-8"}]},
            ]
        )

    async def GetCall(self, request: Any, ctx: Any) -> pb.CallInfo:
        return pb.CallInfo(
            call_id=request.call_id,
            function="price",
            app="shop",
            inputs=10,
            done=4,
            running=2,
            submitted=True,
            submitted_ns=time.time_ns() - 90 * 10**9,
        )

    async def Results(self, request: Any, ctx: Any) -> AsyncIterator[pb.ResultBatch]:
        assert request.stored and request.end_index == 10
        failed = pb.Result(
            index=3,
            status=pb.FAILURE,
            error_type="builtins.ValueError",
            message="no such price",
            traceback="Traceback (most recent call last):\n  in price\n",
        )
        lost = pb.Result(index=1, status=pb.RUNNER_LOST, message="killed by SIGKILL")
        both = [
            one.SerializeToString() for one in (failed, pb.Result(index=0, status=pb.SUCCESS), lost)
        ]
        yield pb.ResultBatch(results=both)

    async def CancelCall(self, request: Any, ctx: Any) -> pb.CancelCallReply:
        self.cancelled.append(request)
        known = request.call_id == "fc-some"
        return pb.CancelCallReply(queued=4, running=2) if known else pb.CancelCallReply()

    async def DeadLetters(self, request: Any, ctx: Any) -> pb.DeadLettersReply:
        of = [x for x in self.letters if request.function_id in ("", x.function_id)]
        behind = [x for x in of if _entry(x.id) > _entry(request.after)]
        return pb.DeadLettersReply(letters=behind[: request.limit], total=len(of))

    def _take(self, selection: pb.DeadLetterSelection) -> pb.DeadLetterCount:
        self.selected.append(selection)
        taken = [x for x in self.letters if selection.all or x.id in selection.ids]
        self.letters = [x for x in self.letters if x not in taken]
        return pb.DeadLetterCount(count=len(taken), calls=[x.call_id for x in taken])

    async def Replay(self, request: Any, ctx: Any) -> pb.DeadLetterCount:
        return self._take(request)

    async def Drop(self, request: Any, ctx: Any) -> pb.DeadLetterCount:
        return self._take(request)


def _entry(name: str) -> list[int]:
    return [int(part) for part in name.partition("/")[2].split("-") if part]


@pytest.fixture
def fake() -> Iterator[Letters]:
    made = Letters()
    yield made
    made.close()


def test_ls_shows_what_waits_by_function(fake: Letters) -> None:
    lines = rekindle(fake.directory, "inputs", "ls").stdout.splitlines()
    assert lines[0].split() == [
        *("function", "queued", "in", "flight", "delayed", "oldest", "dead", "id"),
    ]
    assert lines[1].split() == ["shop.price", "7", "2", "0", "65s", "2", "fu-1"]
    assert lines[2].split() == ["idle.f", "0", "0", "0", "-", "0", "fu-9"]
    for name in ("price", "shop", "shop.price", "fu-1"):
        told = json.loads(
            rekindle(fake.directory, "inputs", "ls", "--function", name, "--json").stdout
        )
        assert [(one["function_id"], one["queued"]) for one in told] == [("fu-1", 7)]
    wrong = rekindle(fake.directory, "inputs", "ls", "--function", "prise", status=1)
    assert "no open function is called 'prise'" in wrong.stderr


def test_show_tells_how_far_a_call_is(fake: Letters) -> None:
    shown = rekindle(fake.directory, "inputs", "show", "fc-some").stdout
    lines = [line.strip().partition("  ") for line in shown.splitlines() if line.strip()]
    rows = {key: value.strip() for key, _, value in lines}
    assert rows["function"] == "shop.price" and rows["state"] == "running"
    assert (rows["inputs"], rows["done"], rows["in flight"], rows["waiting"]) == (
        "10",
        "4",
        "2",
        "4",
    )
    assert rows["submitted"].startswith("1 min")
    told = json.loads(rekindle(fake.directory, "inputs", "show", "fc-some", "--json").stdout)
    assert told["state"] == "running" and told["inputs"] == 10 and told["cancelled"] is False


def test_show_tells_how_inputs_failed(fake: Letters) -> None:
    shown = rekindle(fake.directory, "inputs", "show", "fc-some").stdout
    assert "Input 1: RUNNER_LOST: killed by SIGKILL\n" in shown
    assert "Input 3: ValueError: no such price\nTraceback (most recent call last):" in shown
    told = json.loads(rekindle(fake.directory, "inputs", "show", "fc-some", "--json").stdout)
    assert [(one["index"], one["status"]) for one in told["failed"]] == [
        (1, "RUNNER_LOST"),
        (3, "FAILURE"),
    ]
    assert told["failed"][1]["message"] == "no such price"


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({"inputs": 2, "done": 2, "submitted": True}, "done"),
        ({"inputs": 2, "done": 2, "submitted": True, "cancelled": True}, "cancelled"),
        ({"inputs": 2, "done": 1, "submitted": True, "cancelled": True}, "being cancelled"),
        ({"inputs": 2, "running": 1}, "running"),
        ({"inputs": 2, "done": 2}, "running"),  # more may come
        ({"inputs": 2, "submitted": True}, "queued"),
    ],
)
def test_a_call_has_a_state_in_one_word(info: dict[str, Any], state: str) -> None:
    assert state_of(pb.CallInfo(**info)) == state


def test_cancel_says_what_it_met(fake: Letters) -> None:
    ended = rekindle(
        fake.directory, "inputs", "cancel", "--yes", "fc-some", "--terminate-containers"
    )
    assert ended.stdout == "fc-some: 4 queued inputs and 2 in flight cancelled.\n"
    assert fake.cancelled[0].terminate_containers
    assert (
        "nothing was left"
        in rekindle(fake.directory, "inputs", "cancel", "--yes", "fc-done").stdout
    )
    assert not fake.cancelled[1].terminate_containers


@pytest.mark.parametrize(
    "argv",
    [
        ["cancel", "fc-some"],
        ["dead", "drop", "fu-1/1-0"],
        ["dead", "drop", "fu-1/1-0", "fu-9/1-0"],
        ["dead", "drop", "--function", "price"],
        ["dead", "drop", "--all"],
    ],
    ids=" ".join,
)
def test_without_a_terminal_it_says_what_to_add(fake: Letters, argv: list[str]) -> None:
    assert "add --yes" in rekindle(fake.directory, "inputs", *argv, status=1).stderr
    assert not fake.selected and not fake.cancelled


def test_nothing_is_asked_about_what_is_not_there(fake: Letters) -> None:
    for argv in (["fu-9/1-0"], ["typo"], ["fu-9/1-0", "typo"], ["--function", "prise"]):
        said = rekindle(fake.directory, "inputs", "dead", "drop", *argv, status=1).stderr
        assert "no dead letter" in said and argv[-1] in said
    fake.letters = []
    dropped = rekindle(fake.directory, "inputs", "dead", "drop", "--all").stdout
    assert dropped == "0 dead letters dropped.\n"


def test_nothing_is_asked_about_a_call_that_is_not_there(controller: FakeController) -> None:
    said = rekindle(controller.directory, "inputs", "cancel", "fc-some", status=1).stderr
    assert "no call fc-some" in said


def test_dead_letters_are_listed_and_shown_whole(fake: Letters) -> None:
    lines = rekindle(fake.directory, "inputs", "dead", "ls").stdout.splitlines()
    assert len(lines) == 4
    for part in ("fu-1/1-0", "shop.price", "fc-call1", "5m", "2 KiB", "killed by signal 1"):
        assert part in lines[1]
    assert "more words" not in lines[1]
    few = rekindle(fake.directory, "inputs", "dead", "ls", "--limit", "1").stdout
    assert "There are more" in few and "fu-2/2-0" not in few
    of_one = ("dead", "ls", "--function", "shop.price", "--json")
    told = json.loads(rekindle(fake.directory, "inputs", *of_one).stdout)
    assert [one["id"] for one in told] == ["fu-1/1-0", "fu-1/3-0"]
    shown = rekindle(fake.directory, "inputs", "dead", "show", "fu-2/2-0").stdout
    for part in ("shop.stock", "RunnerLostError", "signal 2\nmore words"):
        assert part in shown
    missing = rekindle(fake.directory, "inputs", "dead", "show", "9-9", status=1)
    assert "no dead letter 9-9" in missing.stderr and "dead ls" in missing.stderr


def test_letters_are_replayed_by_id_by_function_or_all(fake: Letters) -> None:
    def replay(*argv: str) -> str:
        return rekindle(fake.directory, "inputs", "dead", "replay", *argv).stdout

    told = replay("fu-2/2-0", "9-9").splitlines()
    assert told[0] == "1 dead letter put back on the queue."
    assert told[1] == "new call: fc-call2" and told[2].startswith("1 of the ids named none")
    assert replay("--function", "price").startswith("2 dead letters put back on the queue.\n")
    assert [list(one.ids) for one in fake.selected] == [
        ["fu-2/2-0", "9-9"],
        ["fu-1/1-0", "fu-1/3-0"],
    ]
    assert replay("--all") == "0 dead letters put back on the queue.\n"
    assert len(fake.selected) == 2
    none = rekindle(fake.directory, "inputs", "dead", "replay", "9-9", status=1)
    assert none.stdout.startswith("0 dead letters put back") and "named none" in none.stdout
    for argv in ((), ("fu-1/1-0", "--all"), ("--all", "--function", "f")):
        wrong = rekindle(fake.directory, "inputs", "dead", "replay", *argv, status=2)
        assert "give ids, --function NAME or --all" in wrong.stderr


def test_dropping_is_confirmed_by_id_too(fake: Letters) -> None:
    def drop(*argv: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        return rekindle(fake.directory, "inputs", "dead", "drop", *argv, status=status)

    for argv, asked in (
        (("--all",), "Drop all dead letters in main for good?"),
        (("--function", "shop"), "Drop all dead letters of shop for good?"),
        (("fu-1/1-0",), "Drop the dead letter fu-1/1-0 for good?"),
        (("fu-1/1-0", "fu-2/2-0"), "Drop the dead letters fu-1/1-0, fu-2/2-0 for good?"),
    ):
        wrong = drop(*argv, status=1)
        assert asked in wrong.stderr and "--yes" in wrong.stderr
    assert not fake.selected
    assert "1 dead letter dropped" in drop("fu-1/1-0", "-y").stdout
    assert drop("--all", "-y").stdout == "2 dead letters dropped.\n"
    assert rekindle(fake.directory, "inputs", "dead", "ls").stdout == "No dead letters in main.\n"


def test_inputs_and_dead_letters_are_those_of_the_environment(fake: Letters) -> None:
    fake.letters[1].app = fake.letters[2].app = "staging/shop"

    def listed(*argv: str, **more: str) -> list[str]:
        told = rekindle(fake.directory, "inputs", "dead", "ls", "--json", *argv, **more)
        return [one["id"] for one in json.loads(told.stdout)]

    assert listed() == ["fu-1/1-0"]
    assert (
        listed("-e", "staging")
        == listed(REKINDLE_ENVIRONMENT="staging")
        == ["fu-2/2-0", "fu-1/3-0"]
    )
    assert listed("-e", "other") == []
    shown = rekindle(fake.directory, "inputs", "dead", "show", "fu-2/2-0").stdout  # by its id: any
    assert "staging/shop.stock" in shown
    there = json.loads(rekindle(fake.directory, "inputs", "ls", "-e", "staging", "--json").stdout)
    assert [one["app"] for one in there] == ["staging/shop"]
    here = json.loads(rekindle(fake.directory, "inputs", "ls", "--json").stdout)
    assert [one["app"] for one in here] == ["shop", "idle"]


@pytest.mark.parametrize("how", ["replay", "drop"])
def test_all_dead_letters_are_those_of_the_environment_alone(fake: Letters, how: str) -> None:
    fake.letters[1].app = "staging/shop"
    yes = ["--yes"] if how == "drop" else []
    told = rekindle(fake.directory, "inputs", "dead", how, "--all", "-e", "staging", *yes).stdout
    assert told.startswith("1 dead letter ")
    assert [one.id for one in fake.letters] == ["fu-1/1-0", "fu-1/3-0"]
    rekindle(fake.directory, "inputs", "dead", how, "--all", "-e", "other", *yes)
    assert [one.id for one in fake.letters] == ["fu-1/1-0", "fu-1/3-0"]


async def run(directory: Path, *argv: str, status: int = 0) -> str:
    """A command to its end, beside this test's loop."""
    return (await asyncio.to_thread(rekindle, directory, "inputs", *argv, status=status)).stdout


@in_loop
async def test_an_input_that_was_given_up_is_replayed_in_the_app_as_it_is_run_again(
    shared: Instance,
) -> None:
    where = shared.directory
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("letters", spec("f"))
        call_id = await client.submit(function_id, {0: b"payload"})
        for _ in range(5):
            assign = await agent.assigned.get()
            back = pb.InputsReturned(call_id=call_id, indexes=[0], reason="killed", begun=[0])
            await agent.send(returned=back)
        [result] = await client.results(call_id)
        assert result.status == pb.RUNNER_LOST
        row = next(line for line in (await run(where, "ls")).splitlines() if "letters.f" in line)
        assert row.split()[1:6] == ["0", "0", "0", "-", "1"]
        told = json.loads(await run(where, "dead", "ls", "--function", "letters.f", "--json"))
        assert [(one["call_id"], one["deliveries"]) for one in told] == [(call_id, 5)]
        assert "killed" in await run(where, "dead", "show", told[0]["id"])
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        assert "apps that are closed, of all environments: 1" in await run(where, "ls")
        metrics = (await client.call("Metrics", pb.MetricsRequest())).text
        assert 'rekindle_dead_letters{function="(closed)"} 1.0' in metrics
        refused = await run(where, "dead", "replay", told[0]["id"], status=1)
        assert "0 dead letters" in refused and "run it again" in refused

        await client.register("letters", spec("f", timeout_s=7))
        done = (await run(where, "dead", "replay", "--function", "letters.f")).splitlines()
        assert done[0] == "1 dead letter put back on the queue."
        again = done[1].removeprefix("new call: ")
        assign = await agent.assigned.get()
        assert (assign.call_id, assign.inputs[0].payload) == (again, b"payload")
        assert "running" in await run(where, "show", again)
        await agent.done(assign)
        [result] = await client.results(again)
        assert result.status == pb.SUCCESS
        assert "done" in await run(where, "show", again)
        assert "none of" in await run(where, "dead", "ls", "--function", "letters.f")


@in_loop
async def test_a_call_is_cancelled_where_it_waits_and_where_it_runs(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=1) as agent:
        _, [function_id] = await client.register("stopped", spec("f"))
        call_id = await client.submit(function_id, dict.fromkeys(range(200), b""))
        assign = await agent.assigned.get()
        told = await run(shared.directory, "cancel", "--yes", call_id)
        assert told.startswith(f"{call_id}: ") and "cancelled." in told
        stop = await agent.cancels.get()
        assert stop.call_id == call_id and assign.call_id == call_id
