"""Secrets by name in real programs: who gets them, when a change is seen, and where no value is."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.e2e.harness import COMMAND, PATIENCE_S, Home

VALUE = "swordfish-4714"
#: Says which processes of the machine have a value in what every user's tools may show of them.
_PROGRAM = """
    import json, os, sys
    from pathlib import Path
    import rekindle
    from rekindle.sdk.running import ask_strategy

    app = rekindle.App("keeper", secrets=[rekindle.Secret.from_name("door", required_keys=["PIN"])])

    @app.cls(enable_memory_snapshot=True, single_use_containers=True)
    class Frozen:
        @rekindle.enter(snap=True)
        def load(self):
            self.at_load = os.environ.get("PIN")

        @rekindle.method()
        def pin(self):
            print("the function ran")
            return [os.environ["PIN"], self.at_load]

    @app.function()
    def cold():
        return os.environ["PIN"]

    @app.function()
    def broken():
        rekindle.Secret.from_name("door").update({"PIN": "x" * 40_000})

    def seen_in():
        found, value = set(), Path("value").read_text()
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    if value.encode() in (process / name).read_bytes():
                        words = (process / "cmdline").read_bytes().split(b"\\0")
                        # The second is one that was booted in advance.
                        ours = {b"rekindle.runtime.runner." + one for one in (b"main", b"waiting")}
                        found.add("runner" if ours & set(words) else b" ".join(words).decode())
                except OSError:
                    continue
        return sorted(found)

    @app.local_entrypoint()
    def main():
        first = [Frozen().pin.remote(), cold.remote()]
        where = seen_in()
        rekindle.Secret.from_name("door").update({"PIN": Path("value").read_text() + "-new"})
        kept = cold.remote()
        with ask_strategy("fork"):
            forked = Frozen().pin.remote()
        with ask_strategy("cold"):
            booted = cold.remote()
        try:
            broken.remote()
        except Exception as error:
            refused = repr(error)
        print(json.dumps({"first": first, "where": where, "kept": kept, "forked": forked,
                          "booted": booted, "refused": refused}))
"""


@pytest.mark.criu
def test_runners_have_the_value_as_they_start_and_nothing_else_ever_has_it(home: Home) -> None:
    home.up()
    script = home.script(_PROGRAM)
    (home.scripts / "value").write_text(VALUE)
    missing = home.run(script, status=1)
    assert "no secret 'door'" in missing.err and "rekindle secret create door" in missing.err
    made = subprocess.run(
        [COMMAND, "secret", "create", "door", "PIN=-"],
        input=f"{VALUE}\n",
        env=home.environ,
        cwd=home.scripts,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    shown = [made.stdout, home.rekindle("secret", "list").out]
    listed = home.rekindle("secret", "list", "--json").out
    assert json.loads(listed)[0]["variables"] == ["PIN"]
    ended = home.run(script)
    found = ended.value
    assert found["first"] == [[VALUE, None], VALUE]
    assert found["where"] in ([], ["runner"])
    # Who runs keeps what it has; who starts has the new one, also from the same snapshot.
    new = f"{VALUE}-new"
    assert (found["kept"], found["forked"], found["booted"]) == (VALUE, [new, None], new)
    assert home.run(script).value["first"] == [[new, None], new]
    assert "too long" in found["refused"] and VALUE not in found["refused"]
    assert len(home.snapshots()) == 1
    shown += [listed, ended.err, home.rekindle("logs", "keeper").out]
    assert not any(VALUE in text for text in shown)
    found_in = subprocess.run(
        ["grep", "-rlF", VALUE, str(home.path), str(home.temporary)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found_in.stdout == ""  # Redis's files, snapshots, logs, sources
