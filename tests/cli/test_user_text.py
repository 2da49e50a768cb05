"""Text of the user in tables and other prints: shown as it is, whatever it looks like."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rekindle import cli
from rekindle.cli import phases, snapshot
from rekindle.cli.tables import console, listing, table
from rekindle.sdk.calls.call_record import CallRecord
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.class_parameters import pack
from tests.cli.command import rekindle
from tests.controller.harness import Instance
from tests.sdk.fake_controller import FakeController

#: What rich takes for the end of a style, for a style, and for an emoji.
TEXT = "[/a] [dim]x[/dim] :smile:"
VARIANT = "slow[f3326cf2]"


class Hostile(FakeController):
    """A controller whose names and errors look like markup."""

    async def Status(self, request: Any, ctx: Any) -> pb.StatusReply:
        pool = pb.PoolsStatus(
            pools=[pb.PoolStatus(instance=pack("K", {"p": TEXT}).decode(), why=TEXT)]
        )
        function = pb.FunctionStatus(name=VARIANT, function_id="fu-1", pool=pool)
        stats = pb.NodeStats(
            runners=[
                pb.RunnerStats(id="ru-1", function_id="fu-1", function=VARIANT, app_id="ap-1")
            ],
            snapshots=[pb.SnapshotStats(app="shop", function=VARIANT, state="none", reason=TEXT)],
            gpus=pb.NodeGpus(devices=[pb.GpuStats(model=TEXT)]),
        )
        return pb.StatusReply(
            apps=[pb.AppStatus(name="shop", app_id="ap-1", version=1, functions=[function])],
            agents=[pb.AgentStatus(agent_id="ag-1", host="node", connected=True, stats=stats)],
        )

    async def DeployedApps(self, request: Any, ctx: Any) -> pb.DeployedAppsReply:
        version = pb.AppVersion(version=1, app_id="ap-1", at=time.time(), tag=TEXT)
        version.functions.append(VARIANT)
        app = pb.DeployedApp(name="shop", app_id="ap-1", version=1, tags={"team": TEXT})
        app.versions.append(version)
        return pb.DeployedAppsReply(apps=[app])

    async def Schedules(self, request: Any, ctx: Any) -> pb.SchedulesReply:
        failed = pb.ScheduledRun(state="failed", error=f"ValueError: {TEXT}", due=time.time())
        one = pb.ScheduleStatus(app="shop", function=VARIANT, schedule="every day", last=[failed])
        return pb.SchedulesReply(schedules=[one])

    async def GetCall(self, request: Any, ctx: Any) -> pb.CallInfo:
        return pb.CallInfo(call_id=request.call_id, app="shop", function=VARIANT, inputs=1)

    async def DeadLetters(self, request: Any, ctx: Any) -> pb.DeadLettersReply:
        letter = pb.DeadLetter(id="1-0", app="shop", function=VARIANT, reason=TEXT, at_ns=1)
        return pb.DeadLettersReply(letters=[] if request.after else [letter], total=1)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    made = Hostile()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        ("status", [VARIANT, TEXT]),
        ("pool ls", [VARIANT, TEXT]),
        ("container list", [VARIANT]),
        ("app list", [TEXT]),
        ("app info shop", [VARIANT, TEXT]),
        ("app history shop", [VARIANT, TEXT]),
        ("schedule ls", [VARIANT, TEXT]),
        ("inputs ls", [VARIANT]),
        ("inputs show fc-1", [VARIANT]),
        ("inputs dead list", [VARIANT, TEXT]),
        ("top --once", [VARIANT]),
    ],
)
def test_a_command_shows_text_of_the_user_as_it_is(
    hostile: Hostile, argv: str, shown: list[str]
) -> None:
    said = rekindle(hostile.directory, *argv.split(), COLUMNS="300").stdout
    for text in shown:
        assert text in said, said


def test_keys_and_values_of_dicts_and_queues_are_shown_as_they_are(
    shared: Instance,
) -> None:
    program = (
        "import rekindle, sys\n"
        "text = sys.argv[1]\n"
        "rekindle.Dict.from_name('marks', create_if_missing=True)[text] = text + '!'\n"
        "rekindle.Queue.from_name('marks', create_if_missing=True).put(text)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, TEXT],
        env={**os.environ, "REKINDLE_DIR": str(shared.directory)},
        check=True,
        timeout=60,
    )
    row = rekindle(shared.directory, "dict", "items", "marks").stdout.splitlines()[1]
    assert row == f"{TEXT}  {TEXT}!"
    assert rekindle(shared.directory, "queue", "peek", "marks").stdout.rstrip() == TEXT


def test_tables_without_an_instance_show_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    made = table("name", "what")
    made.add_row(VARIANT, TEXT)
    console().print(made)
    console().print(listing([(TEXT,)]))
    console().print(TEXT)
    assert capsys.readouterr().out.count(TEXT) == 3
    row: dict[str, Any] = {
        "key": "k",
        "app": TEXT,
        "function": VARIANT,
        "size_bytes": 1,
        "mapped": False,
    }
    row |= {"created": time.time(), "valid": False, "reason": TEXT, "made_because": [TEXT]}
    snapshot._show_table([row])
    said = capsys.readouterr().out
    assert said.count(TEXT) == 3 and f"no: {TEXT}" in said and VARIANT in said
    record: dict[str, Any] = {
        "call_id": "fc-1",
        "index": 0,
        "function": VARIANT,
        "strategy": "",
        "ok": True,
    }
    record |= {"runner_id": "ru-1", "total_ms": 1.0, "phases": {}, "notes": (TEXT,)}
    phases.show([CallRecord(**record)])
    said = capsys.readouterr().out
    assert said.count(VARIANT) == 2 and TEXT in said


def test_no_command_makes_a_console_that_reads_markup() -> None:
    files = Path(cli.__file__).parent.glob("*.py")
    texts = {file.name: file.read_text(encoding="utf-8") for file in files}
    assert not [name for name, text in texts.items() if re.search(r"\bConsole\(", text)]
    assert not [name for name, text in texts.items() if "rich.markup" in text]
