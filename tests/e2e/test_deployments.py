"""Deployed apps, end to end: deployed again, there again after restarts, stopped and deleted."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import sysconfig
from pathlib import Path

import pytest

import rekindle
from tests.e2e.deployed import SERVICE, app_list, held_apps
from tests.e2e.harness import SMALL_DISK, Gate, Home, service, wait_until

BREAKS = """
import rekindle

app = rekindle.App("breaks-{least}")

@app.function()
def one():
    return 1

@app.cls(min_containers={least})
class Broken:
    @rekindle.enter()
    def begin(self):
        self.value = {value}

    @rekindle.method()
    def get(self):
        return self.value
"""


@pytest.mark.parametrize("least", [0, 1])
def test_a_class_that_does_not_start_replaces_none_that_works(shared: Home, least: int) -> None:
    """One that nobody has called yet, and one of which an idle runner is kept."""

    def text(value: str) -> str:
        return BREAKS.format(least=least, value=value)

    name, script = f"breaks-{least}", shared.script(text("41"), "breaks.py")
    shared.rekindle("deploy", script)
    if least:
        (app_id,) = (one["app_id"] for one in app_list(shared, "list") if one["name"] == name)
        wait_until(lambda: app_id in held_apps(shared), "the runner that is kept")
    script.write_text(text("1 // 0"))
    ended = shared.rekindle("deploy", script, status=1)
    assert "version 2, does not start, so version 1 stays: Broken: ZeroDiv" in ended.err
    call = f"import rekindle; print(rekindle.Cls.from_name('{name}', 'Broken')().get.remote())"
    assert shared.python("-c", call).out == "41\n"
    shared.rekindle("app", "stop", name, "--yes")


KEEPS = """
import rekindle

app = rekindle.App("keeps")
shelf = rekindle.Volume.from_name("keeps", create_if_missing=True)

@app.function(volumes={{{place!r}: shelf}})
def put(text):
    with open({place!r} + "/text", "w") as file:
        file.write(text)
    return {version}

@app.cls(volumes={{{place!r}: shelf.with_mount_options(read_only=True)}})
class Reader:
    @rekindle.method()
    def read(self):
        with open({place!r} + "/text") as file:
            return {version}, file.read()
"""


def test_an_app_with_volumes_is_deployed_again_and_rolled_over(home: Home) -> None:
    """While a function and a class that have one run."""
    home.up()
    place, call = str(home.root / "mounted"), home.scripts / "call.py"
    call.write_text(
        "import rekindle; put = rekindle.Function.from_name('keeps', 'put').remote('kept')\n"
        "print([put, *rekindle.Cls.from_name('keeps', 'Reader')().read.remote()])"
    )
    for version in (1, 2):
        script = home.script(KEEPS.format(place=place, version=version), "keeps.py")
        assert f"keeps, version {version} " in home.rekindle("deploy", script).out
        assert home.python(call).out == f"[{version}, {version}, 'kept']\n"
    assert "version 3" in home.rekindle("app", "rollover", "keeps").out
    assert home.python(call).out == "[2, 2, 'kept']\n"


RESTARTS = """
import json, os, sys
import rekindle

def calls():
    answer = rekindle.Function.from_name("service", "answer")
    return [answer.remote(1)[0], rekindle.Function.from_name("service", "nested").remote(2)[0]]

print(json.dumps(calls()))
"""


def test_a_deployed_app_needs_neither_its_program_nor_its_files_and_survives_restarts(
    home: Home,
) -> None:
    """The controller and the agent are killed, the whole instance is taken down and up again."""
    text = SERVICE.format(version=1).replace('rekindle.App("service")', "rekindle.App('service')")
    home.script(text + "\nfrom helper_of_it import VALUE\n", "gone/service.py")
    home.script("VALUE = 5\n", "gone/helper_of_it.py")
    said = home.rekindle("deploy", "gone/service.py")
    assert "no instance is up: starting one that stays" in said.err
    home.script(RESTARTS, "restarts.py")
    shutil.rmtree(home.scripts / "gone")

    def calls() -> object:
        return home.python("restarts.py").value

    def loaded() -> list[str]:
        agents = home.status()["agents"]
        return [one["function"] for agent in agents for one in agent["stats"].get("templates", [])]

    assert calls() == [1, 1]
    wait_until(lambda: home.snapshots(), "the snapshot")
    supervisor = home.supervisor()
    for module in ("rekindle.controller", "rekindle.runtime.agent"):
        killed = service(supervisor, module)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert calls() == [1, 1]
    home.rekindle("down")
    home.up()
    # Before any call: from its snapshot.
    wait_until(lambda: loaded() == ["answer"], "the template of what is deployed")
    starts = home.status()["recent_starts"]
    assert not [one for one in starts if one["strategy"] == "cold"]
    assert calls() == [1, 1]
    assert home.rekindle("app", "stop", "-y", "service").out.startswith("Stopped service.")
    failed = home.python("restarts.py", status=1)
    assert "the app 'service' is stopped" in failed.err
    assert (
        "is no number of a version"
        in home.rekindle("app", "rollback", "service", "0", status=2).err
    )
    assert "is version 2 now: the content of 1" in home.rekindle("app", "rollback", "service").out
    assert calls() == [1, 1]
    assert [one["version"] for one in app_list(home, "history", "service")] == [2, 1]
    assert "present; content of 1" in home.rekindle("app", "history", "service").out
    assert "answer (0 undone)" in home.rekindle("app", "info", "service").out
    assert '"state": "deployed"' in home.rekindle("app", "list", "--json").out


TICKS = """
import rekindle

app = rekindle.App("ticks")

@app.function(schedule=rekindle.Period(seconds=1))
def tick():
    with open({file!r}, "a") as file:
        file.write(rekindle.current_function_call_id() + "\\n")

@app.function(schedule=rekindle.Cron("0 9 * * *", timezone="Europe/Berlin"))
def fails():
    raise ValueError("not today")
"""


def test_a_schedule_runs_once_for_each_time_though_controllers_are_killed(home: Home) -> None:
    """Each run is in the file once, and none is there that the controller does not know."""
    ran = home.scripts / "ran"
    ran.touch()
    home.up()
    home.script(TICKS.format(file=str(ran)), "ticks.py")
    home.rekindle("deploy", "ticks.py")
    supervisor = home.supervisor()
    for _ in range(2):
        before = len(ran.read_text().splitlines())
        wait_until(lambda: len(ran.read_text().splitlines()) > before, "a run")  # noqa: B023
        killed = service(supervisor, "rekindle.controller")
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert "Submitted fc-" in home.rekindle("schedule", "run", "ticks.fails").out

    def of_function(name: str) -> dict[str, object]:
        found = json.loads(home.rekindle("schedule", "ls", "ticks", "--json").out)
        return next(one for one in found if one["function"] == name)

    wait_until(lambda: of_function("fails")["last"][0]["state"] == "failed", "the failure")  # type: ignore[index]
    assert "failed: ValueError: not today" in home.rekindle("schedule", "ls").out
    tick = wait_until(lambda: _all_done(of_function("tick")), "an end of all runs")
    ids = ran.read_text().splitlines()
    assert len(ids) == len(set(ids))
    assert {run["call_id"] for run in tick["last"]} <= set(ids)
    assert [run["due"] for run in tick["last"]] == sorted(
        {run["due"] for run in tick["last"]}, reverse=True
    )
    assert len(ids) >= tick["runs"]


def _all_done(one: dict[str, object]) -> dict[str, object] | None:
    return one if {run["state"] for run in one["last"]} == {"done"} else None  # type: ignore[attr-defined]


DETACHED = """
import rekindle
{gate}
app = rekindle.App("detached")

@app.function()
def waits(path: str) -> str:
    wait_at(path)
    return "went on"
"""


def test_a_detached_run_goes_on_without_its_program(home: Home, gate: Gate) -> None:
    """Its program is killed while the function runs; who has the id of the call gets its value."""
    home.up(REKINDLE_HOLD_GRACE_S="3")
    home.script(DETACHED.format(gate=Gate.SOURCE), "detached.py")
    run = home.start_rekindle("run", "--detach", "detached.py::waits", "--path", gate.directory)
    run.until("Submitted fc-", "err")
    run.until("waiting")
    run.kill()
    call_id = run.text("err").partition("Submitted ")[2].split(".")[0]
    home.script(
        "import sys, rekindle; print(rekindle.FunctionCall.from_id(sys.argv[1]).get())", "get.py"
    )
    gate.open()
    assert home.python("get.py", call_id).out == "went on\n"
    wait_until(lambda: not home.status()["apps"], "the end of its app")


def test_an_app_that_is_not_deployed_is_stopped_by_its_id_or_name(
    shared: Home, shared_gate: Gate
) -> None:
    """Detached, its program killed, and with a program that hears of it."""
    shared.script(DETACHED.format(gate=Gate.SOURCE), "detached.py")
    command = ("run", "-d", "-n", "slow", "detached.py::waits", "--path", shared_gate.directory)
    gone, there = (shared.start_rekindle(*command) for _ in range(2))
    for program in (gone, there):
        program.until("waiting")
    gone.kill()
    ids = [str(one["app_id"]) for one in app_list(shared, "list") if one["name"] == "slow"]
    shown = shared.rekindle("app", "list").out
    assert len(ids) == 2 and all(app_id in shown for app_id in ids)
    refused = shared.rekindle("app", "stop", "slow", "--yes", status=1).err
    assert "2 programs run an app 'slow'" in refused and all(app_id in refused for app_id in ids)
    for app_id in ids:
        info = json.loads(shared.rekindle("app", "info", app_id, "--json").out)
        assert (info["name"], info["state"], info["app_id"]) == ("slow", "ephemeral", app_id)
    assert "slow" in shared.rekindle("app", "stop", "slo", "--yes", status=1).err
    for name in (ids[0], "slow"):
        assert shared.rekindle("app", "stop", name, "--yes").out.startswith("Stopped slow (ap-")
    assert "slow" not in [one["name"] for one in app_list(shared, "list")]
    ended = there.end()
    assert ended.status == 1 and "the app 'slow' was closed" in ended.err


def test_a_file_does_not_name_what_is_deployed(shared: Home) -> None:
    """It would take the place of another app that has that name."""
    declared = (
        "import rekindle\n\napp = rekindle.App({name})\n\n@app.function()\ndef f():\n    pass\n"
    )
    shared.rekindle("deploy", shared.script(declared.format(name="'letters'"), "first.py"))
    script = shared.script(declared.format(name=""), "other/letters.py")
    assert "the app has no name" in shared.rekindle("deploy", script, status=1).err
    in_program = f"import runpy; runpy.run_path({str(script)!r})['app'].deploy()"
    assert "the app has no name" in shared.python("-c", in_program, status=1).err
    assert {one["version"] for one in app_list(shared, "list") if one["name"] == "letters"} == {1}
    shared.rekindle("deploy", script, "--name", "letters")
    assert {one["version"] for one in app_list(shared, "list") if one["name"] == "letters"} == {2}
    shared.rekindle("app", "stop", "letters", "--yes")


def test_an_app_that_is_stopped_can_be_deleted_in_its_environment_alone(shared: Home) -> None:
    script = shared.script(
        "import rekindle\n\napp = rekindle.App('gone')\n\n@app.function()\ndef f():\n    return 1\n"
    )
    for where in ([], ["--env", "elsewhere"]):
        shared.rekindle("deploy", *where, script)
    refused = shared.rekindle("app", "delete", "gone", "--yes", status=1)
    assert (
        "gone is deployed (version 1)" in refused.err and "`rekindle app stop gone`" in refused.err
    )
    shared.rekindle("app", "stop", "gone", "--yes")
    assert "add --yes" in shared.rekindle("app", "delete", "gone", status=1).err
    assert shared.rekindle("app", "delete", "gone", "--yes").out == "Deleted gone: 1 version.\n"
    assert "gone" not in [one["name"] for one in app_list(shared, "list")]
    assert "no app 'gone'" in shared.rekindle("app", "rollback", "gone", status=1).err
    there = app_list(shared, "list", "--env", "elsewhere")
    assert [(one["name"], one["state"]) for one in there] == [("gone", "deployed")]
    # What is to be done next names the app so that it is not another environment's.
    refused = shared.rekindle("app", "delete", "gone", "--yes", "-e", "elsewhere", status=1)
    assert "`rekindle app stop elsewhere/gone`" in refused.err
    stopped = shared.rekindle("app", "stop", "gone", "--yes", "-e", "elsewhere").out
    assert "`rekindle app delete elsewhere/gone` removes it" in stopped
    assert "Deleted" in shared.rekindle("app", "delete", "elsewhere/gone", "--yes").out
    assert "no app 'gone'" in shared.rekindle("app", "info", "main/gone", status=1).err


TAGS = """
import rekindle

app = rekindle.App.lookup("tagged", create_if_missing=True)
before = app.get_tags()
app.set_tags({"team": "ads"})
again = rekindle.App.lookup("tagged")
print([before, app.get_tags(), again.get_tags()])
again.stop()
"""


def test_tags_of_an_app_that_is_deployed_can_be_seen_and_set(shared: Home) -> None:
    script = shared.script(TAGS)
    assert shared.python(script).out == "[{}, {'team': 'ads'}, {'team': 'ads'}]\n"


def test_who_deploys_by_a_python_that_is_not_on_the_node_is_told(home: Home) -> None:
    home.up()
    script = home.script("""
        import rekindle

        app = rekindle.App("elsewhere")

        @app.function()
        def one():
            return 1
    """)
    place = home.root / "venv"  # on a disk that this program alone sees
    place.mkdir()
    python = f"{place}/bin/python"
    main = "from rekindle.cli.main import main; main()"
    line = f"{sys.executable} -m venv --without-pip {place} && {python} -c '{main}' deploy {script}"
    packages = f"{Path(rekindle.__file__).parents[1]}:{sysconfig.get_path('purelib')}"
    small = home.start(*SMALL_DISK, place, "16m", "sh", "-c", line, PYTHONPATH=packages).end()
    assert small.status == 0, str(small)
    told, deployed = small.out.splitlines()
    assert told.startswith(f"one: its program's Python, {python}, is not on this node: run by ")
    assert "To have one for both, run the program by that one" in told
    assert deployed.startswith("Deployed elsewhere, version 1")


def test_a_program_that_shows_its_output_is_told_what_its_deployment_came_to(shared: Home) -> None:
    script = shared.script("""
        import rekindle

        app = rekindle.App("told-of")

        @app.function()
        def one():
            return 1

        if __name__ == "__main__":
            app.deploy()
            with rekindle.enable_output():
                app.deploy()
                app.deploy(name="told-of-too")
    """)
    told = shared.python(script)
    unchanged, deployed = told.err.splitlines()
    assert not told.out
    assert unchanged == "Nothing has changed: told-of, version 1 stays."
    assert deployed.startswith("Deployed told-of-too, version 1 in ")
    assert deployed.endswith(" s: one.")
    for name in ("told-of", "told-of-too"):
        shared.rekindle("app", "stop", name, "--yes")
