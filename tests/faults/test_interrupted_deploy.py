"""``rekindle deploy`` that is ended while its version starts: the former one goes on, as said."""

from __future__ import annotations

import json
import os
import signal
import sys

import psutil
import pytest

from tests.e2e.harness import PATIENCE_S, Gate, Home, wait_until
from tests.e2e.processes import holder_of

APP = (
    Gate.SOURCE
    + """
import rekindle

app = rekindle.App({name!r})

@app.cls()
class Slow:
    @rekindle.enter()
    def begin(self):
        if {waits}:
            wait_at({gate!r})

    @rekindle.method()
    def version(self):
        return {waits}
"""
)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_version_whose_deploy_is_ended_while_it_starts_is_not_live_and_leaves_nothing(
    shared: Home, shared_gate: Gate, number: signal.Signals, status: int
) -> None:
    name, gate = f"interrupted-{int(number)}", str(shared_gate.directory)

    def text(waits: bool) -> str:
        return APP.format(name=name, waits=waits, gate=gate)

    script = shared.script(text(False), "interrupted.py")
    shared.rekindle("deploy", script)
    script.write_text(text(True))
    deploy = shared.start_rekindle("deploy", script)
    wait_until(shared_gate.held.exists, "the new version to start")
    apps = [one for one in shared.status()["apps"] if one["name"] == name]
    (began,) = (one["app_id"] for one in apps if one["version"] == 2)
    starts = holder_of(shared.supervisor(), shared_gate.held)
    os.killpg(deploy.process.pid, number)
    ended = deploy.end()
    assert ended.status == status, str(ended)
    told = f"Interrupted: {name} was not deployed. What there was of it before goes on"
    assert (told in ended.err) == (number != signal.SIGKILL), str(ended)
    assert "Traceback" not in ended.err

    def open_apps() -> list[str]:
        return [one["app_id"] for one in shared.status()["apps"]]

    wait_until(lambda: began not in open_apps(), "the end of the new version")
    assert not psutil.wait_procs([starts], timeout=PATIENCE_S)[1], "its runner is left"
    history = json.loads(shared.rekindle("app", "history", name, "--json").out)
    assert [one["version"] for one in history] == [1]
    call = f"import rekindle; print(rekindle.Cls.from_name('{name}', 'Slow')().version.remote())"
    assert shared.python("-c", call).out == "False\n"
    shared.rekindle("app", "stop", name, "--yes")


SYNC = """
    import interrupted_by

    interrupted_by.app.deploy()
"""
AIO = """
    import asyncio
    import interrupted_by

    asyncio.run(interrupted_by.app.deploy.aio())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", [SYNC, AIO], ids=["waits", "awaits"])
def test_a_program_that_is_ended_in_its_deploy_says_what_came_of_it(
    shared: Home, shared_gate: Gate, program: str, number: signal.Signals
) -> None:
    way = "awaits" if program == AIO else "waits"
    name, gate = f"interrupted-{way}-{int(number)}", str(shared_gate.directory)
    script = shared.script(APP.format(name=name, waits=False, gate=gate), "interrupted_by.py")
    shared.rekindle("deploy", script)
    script.write_text(APP.format(name=name, waits=True, gate=gate))
    deploy = shared.start(sys.executable, shared.script(program, "deploys.py"))
    wait_until(shared_gate.held.exists, "the new version to start")
    os.killpg(deploy.process.pid, number)
    ended = deploy.end()
    assert ended.status == -number, str(ended)
    assert ("KeyboardInterrupt" in ended.err) == (number == signal.SIGINT), str(ended)
    told = f"Interrupted: {name} was not deployed. What there was of it before goes on"
    assert told in ended.err, str(ended)
    history = json.loads(shared.rekindle("app", "history", name, "--json").out)
    assert [one["version"] for one in history] == [1]
    shared.rekindle("app", "stop", name, "--yes")
