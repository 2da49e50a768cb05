"""Environments in real programs: names of one are not those of another."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.harness import Home

_SHOP = """
    import os
    import rekindle

    app = rekindle.App("shop", secrets=[rekindle.Secret.from_name("key")])
    notes = rekindle.Dict.from_name("notes", create_if_missing=True)

    @app.function(schedule=rekindle.Period(days=30))
    def where():
        return [os.environ["KEY"], os.environ["REKINDLE_ENVIRONMENT"], notes.get("whose")]

    @app.function(serialized=True)
    def by_name():
        return rekindle.Function.from_name("shop", "where").remote()

    @app.local_entrypoint()
    def main():
        print(where.remote())
"""

_CALLS = """
    import json, sys
    import rekindle

    environment = sys.argv[1] or None
    def called(name):
        return rekindle.Function.from_name("shop", name, environment_name=environment).remote()

    print(json.dumps([called("where"), called("by_name")]))
"""


def test_an_environment_is_a_name_space_of_apps_and_objects(home: Home) -> None:
    """Apps, their look-ups, secrets and Dicts; renamed with all of it, and deleted."""
    home.up()
    service = home.script(_SHOP, "service.py")
    calls = home.script(_CALLS, "calls.py")

    def seen(environment: str = "", **environ: str) -> Any:
        return home.python(calls, environment, **environ).value

    def apps(*options: str) -> list[list[Any]]:
        found = json.loads(home.rekindle("app", "list", "--json", *options).out)
        return [[one["name"], one["environment"], one["state"]] for one in found]

    for environment, key in (("main", "m"), ("staging", "s")):
        home.rekindle("secret", "create", "--env", environment, "key", f"KEY={key}")
        out = home.rekindle("deploy", service, "--env", environment).out
        assert ("staging/shop, version 1" if key == "s" else "shop, version 1") in out
    home.python(
        "-c",
        "import rekindle\n"
        "for one in ('main', 'staging'):\n"
        "    rekindle.Dict.from_name('notes', environment_name=one, create_if_missing=True)"
        ".put('whose', one)",
    )
    of_main, of_staging = ["m", "main", "main"], ["s", "staging", "staging"]
    assert seen() == [of_main, of_main]
    assert seen("staging") == [of_staging, of_staging]
    assert seen(REKINDLE_ENVIRONMENT="staging") == [of_staging, of_staging]
    assert str(of_staging) in home.rekindle("run", "--env", "staging", service).out
    wrong = home.python(calls, "stagin", status=1)
    assert "no app 'stagin/shop' is deployed here; did you mean 'staging/shop'" in wrong.err
    assert apps() == [["shop", "main", "deployed"]]
    assert apps("--env", "staging") == [["shop", "staging", "deployed"]]
    listed = json.loads(home.rekindle("schedule", "ls", "--json", "--env", "staging").out)
    assert [one["app"] for one in listed] == ["staging/shop"]
    home.rekindle("app", "stop", "-y", "shop")
    assert seen("staging")[0] == of_staging
    home.rekindle("app", "rollback", "shop")
    assert "is always there" in home.rekindle("environment", "delete", "-y", "main", status=1).err

    assert "called blue" in home.rekindle("environment", "rename", "staging", "blue").out
    of_blue = ["s", "blue", "staging"]
    assert seen("blue") == [of_blue, of_blue]
    assert "blue/shop, version 2 stays" in home.rekindle("deploy", service, "--env", "blue").out
    (schedule,) = json.loads(home.rekindle("schedule", "ls", "--json", "--env", "blue").out)
    assert [schedule["app"], schedule["runs"]] == ["blue/shop", listed[0]["runs"]]

    rows = json.loads(home.rekindle("environment", "list", "--json").out)
    assert [(one["name"], one["apps"], one["secrets"], one["dicts"]) for one in rows] == [
        ("main", 1, 1, 1),
        ("blue", 1, 1, 1),
    ]
    out = home.rekindle("environment", "delete", "-y", "blue").out
    assert out == "Deleted the environment blue, with 1 app, 1 secret, 1 dict.\n"
    assert "no app 'blue/shop' is deployed" in home.python(calls, "blue", status=1).err
    assert seen() == [of_main, of_main]
    rows = json.loads(home.rekindle("environment", "list", "--json").out)
    assert [one["name"] for one in rows] == ["main"]
