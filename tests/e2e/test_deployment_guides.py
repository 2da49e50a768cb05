"""What docs/deployments.md, docs/schedules.md and their examples say, done."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.e2e.harness import Home, wait_until

ROOT = Path(__file__).parents[2]


def programs(guide: str) -> dict[str, str]:
    """The Python programs of a guide, by the file name in their first line."""
    text = (ROOT / "docs" / guide).read_text()
    blocks = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", text, re.M | re.S)
    return dict(blocks)


def printed(program: str) -> list[str]:
    """What its comments behind prints say that it prints."""
    return re.findall(r"print\(.*\)  # (.*)$", program, re.M)


def stop(home: Home, *names: str) -> None:
    """The shared instance stays as it was."""
    for name in names:
        home.rekindle("app", "stop", "-y", name)


def test_the_guide_to_deployments_does_what_it_says(shared: Home) -> None:
    guide = programs("deployments.md")
    for name, text in guide.items():
        shared.script(text, name)
    shared.rekindle("deploy", "service.py", "--tag", "guide")
    said = shared.python("caller.py").out.splitlines()
    assert said == printed(guide["caller.py"]) and len(said) == 3
    # As a module, and from a program: the same content, under another name.
    assert (
        "Deployed other, version 1"
        in shared.rekindle("deploy", "-m", "service", "--name", "other").out
    )
    shared.script(
        """
        import asyncio, service, rekindle
        made = asyncio.run(service.app.deploy.aio(name="third"))
        print([made.name, made.version, made.unchanged])
        print(service.shout.remote("x"), rekindle.App.lookup("third").app_id == made.app_id)
        print(rekindle.Function.from_name("third", "shout", version=1).remote("y"))
        rekindle.App.lookup("third").stop()
        """,
        "deploys.py",
    )
    assert shared.python("deploys.py").out.splitlines() == [
        "['third', 1, False]",
        "X! True",
        "Y!",
    ]
    stop(shared, "service", "other")


def test_the_guide_to_schedules_does_what_it_says(shared: Home) -> None:
    guide = programs("schedules.md")
    shared.script(guide["reports.py"], "reports.py")
    shared.rekindle("deploy", "reports.py")
    found = json.loads(shared.rekindle("schedule", "ls", "reports", "--json").out)
    assert [one["schedule"] for one in found] == ["0 9 * * 1-5 (Europe/Berlin)", "every 6 h"]
    shared.rekindle("schedule", "run", "reports.report")

    def last() -> str:
        found = json.loads(shared.rekindle("schedule", "ls", "reports", "--json").out)
        return str(found[0]["last"][0]["state"])

    wait_until(lambda: last() == "done", "the run by hand")
    stop(shared, "reports")


def test_the_guide_to_environments_does_what_it_says(shared: Home) -> None:
    """And its example, in the same environments."""
    guide = programs("environments.md")
    for name, text in guide.items():
        shared.script(text, name)
    example = ROOT / "examples" / "environments.py"
    for environment in ("main", "staging"):
        shared.rekindle("deploy", "service.py", "--env", environment)
    said = shared.python("caller.py").out.splitlines()
    assert said == printed(guide["caller.py"]) and len(said) == 2
    shared.rekindle("deploy", f"{example}::app", "--env", "staging")
    said_there = shared.rekindle(
        "run", "-e", "staging", example, "--greeting", "Thar she blows"
    ).out
    assert said_there == "Thar she blows, Ishmael!\n"
    out = shared.rekindle("environment", "delete", "-y", "staging").out
    assert "1 app," in out and "2 dicts" in out
    stop(shared, "greeter")


def test_a_version_that_cannot_be_imported_does_not_replace_one_that_works(shared: Home) -> None:
    service = """
        import rekindle
        app = rekindle.App("fragile")
        if {broken} and not rekindle.is_local():
            raise RuntimeError("the model is not there")

        @app.function()
        def version():
            return {version}

        @app.local_entrypoint()
        def main():
            print(rekindle.Function.from_name("fragile", "version").remote())
        """
    file = shared.script(service.format(broken=False, version=1), "fragile.py")
    shared.rekindle("deploy", file)
    call = shared.script(
        "import rekindle\nprint(rekindle.Function.from_name('fragile', 'version').remote())", "v.py"
    )
    assert shared.python(call).out == "1\n"
    shared.script(service.format(broken=True, version=2), "fragile.py")
    failed = shared.rekindle("deploy", file, status=1).err
    assert "fragile, version 2, does not start, so version 1 stays: version: " in failed
    assert "the model is not there" in failed and shared.python(call).out == "1\n"
    shared.script(service.format(broken=False, version=2), "fragile.py")
    assert "version 2 in" in shared.rekindle("deploy", file).out
    assert shared.python(call).out == "2\n"
    stop(shared, "fragile")


def test_the_examples_run(shared: Home) -> None:
    shared.rekindle("deploy", ROOT / "examples" / "deployed.py::app")
    said = shared.run(ROOT / "examples" / "deployed.py", "--text", "a b a c a b").out
    assert said.splitlines() == ["a: 3", "b: 2", "c: 1"]
    shared.rekindle("deploy", ROOT / "examples" / "scheduled.py")
    shared.rekindle("schedule", "run", "watch.morning_report")

    def logged() -> bool:
        return "good morning" in shared.rekindle("app", "logs", "watch").out

    wait_until(logged, "what the report prints")
    stop(shared, "words", "watch")
