"""A version that could not be tried, as its agent or its instance ended, does not go live."""

from __future__ import annotations

import json

from tests.e2e.harness import Gate, Home, service, wait_until

APP = (
    Gate.SOURCE
    + """
import rekindle

app = rekindle.App({name!r})

@app.cls()
class Sometimes:
    @rekindle.enter()
    def begin(self):
        {hook}

    @rekindle.method()
    def get(self):
        return 1
"""
)


def _versions(home: Home, name: str) -> list[int]:
    history = json.loads(home.rekindle("app", "history", name, "--json").out)
    return [one["version"] for one in history]


def test_a_version_whose_agent_is_killed_while_it_starts_is_tried_by_the_next_agent(
    shared: Home, shared_gate: Gate
) -> None:
    """The first start waits, the second one fails."""
    name, gate = "killed-agent", str(shared_gate.directory)
    script = shared.script(APP.format(name=name, hook="pass"), "killed.py")
    shared.rekindle("deploy", script)
    hook = f"1 // 0 if os.path.exists({gate!r} + '/held') else wait_at({gate!r})"
    script.write_text(APP.format(name=name, hook=hook))
    deploy = shared.start_rekindle("deploy", script)
    wait_until(shared_gate.held.exists, "the new version to start")
    service(shared.supervisor(), "rekindle.runtime.agent").kill()
    ended = deploy.end()
    assert "version 2, does not start, so version 1 stays: Sometimes: ZeroDiv" in ended.err
    assert _versions(shared, name) == [1]
    shared.rekindle("app", "stop", name, "--yes")


def test_what_is_being_deployed_or_waits_for_that_is_not_live_after_down_and_up(
    home: Home, gate: Gate
) -> None:
    home.up()
    name, held = "taken-down", str(gate.directory)
    script = home.script(APP.format(name=name, hook="pass"), "down.py")
    home.rekindle("deploy", script)
    script.write_text(APP.format(name=name, hook=f"wait_at({held!r})"))
    slow = home.start_rekindle("deploy", script)
    wait_until(gate.held.exists, "the new version to start")
    queued = home.start_rekindle("deploy", "--quiet", home.script(_BREAKS, "queued.py"))
    queued.until("asked", "err")
    home.rekindle("down")
    for program in (slow, queued):
        ended = program.end()
        assert ended.status == 1 and "took it down" in ended.err, str(ended)
        assert "app was closed" not in ended.err
    home.up()
    assert _versions(home, name) == [1]


#: Says when it has asked for its version, which is once no other request of it is under way.
_BREAKS = """
import sys
import rekindle
from rekindle.sdk import interrupted_deploy

app = rekindle.App("taken-down")

@app.cls()
class Sometimes:
    @rekindle.enter()
    def begin(self):
        1 // 0

    @rekindle.method()
    def get(self):
        return 2

class Told(interrupted_deploy.DeployAttempt):
    def begin(self, start):
        asked = super().begin(start)
        print("asked", file=sys.stderr, flush=True)
        return asked

interrupted_deploy.DeployAttempt = Told
"""
