"""Edits between two runs: they are seen, and a snapshot that they outdate is made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import Home

MODEL = """
    import rekindle, helper_of_test

    app = rekindle.App("edited")

    @app.cls(enable_memory_snapshot=True)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            self.words = ["first", helper_of_test.word()]

        @rekindle.method()
        def speak(self):
            return " ".join(self.words)

    @app.local_entrypoint()
    def main():
        print(Model().speak.remote())
"""


SPEAKER = """
    import rekindle
    from package_of_test.words import word

    app = rekindle.App("edited")

    @app.function()
    def speak():
        import late_of_test
        return word() + late_of_test.MARK

    @app.local_entrypoint()
    def main():
        print(speak.remote())
"""


def speaker(home: Home) -> Path:
    """A script and the modules that it imports."""
    home.script("", "package_of_test/__init__.py")
    home.script("def word(): return 'old'", "package_of_test/words.py")
    home.script("MARK = '?'", "late_of_test.py")
    return home.script(SPEAKER)


def test_an_edit_of_a_local_module_is_seen_by_the_next_run(home: Home) -> None:
    script = speaker(home)
    assert home.run(script).out == "old?\n"
    home.script("def word(): return 'new'", "package_of_test/words.py")
    home.script("MARK = '!'", "late_of_test.py")
    assert home.run(script).out == "new!\n"


def test_an_edit_of_a_local_module_is_seen_by_what_is_up(shared: Home) -> None:
    script = speaker(shared)
    assert shared.run(script).out == "old?\n"
    shared.script("def word(): return 'new'", "package_of_test/words.py")
    assert shared.run(script).out == "new?\n"
    shared.script("MARK = '!'", "late_of_test.py")
    assert shared.run(script).out == "new!\n"


@pytest.mark.criu
def test_a_snapshot_is_made_again_after_an_edit_or_a_removal_and_says_why(home: Home) -> None:
    script = home.script(MODEL)
    home.script("def word(): return 'word'", "helper_of_test.py")
    assert home.run(script).out == "first word\n"
    (first,) = home.snapshots()
    assert first["made_because"] == ["first snapshot of this function"]

    home.script(MODEL.replace("first", "second"))
    assert home.run(script).out == "second word\n"
    (second,) = [entry for entry in home.snapshots() if entry["key"] != first["key"]]
    known = json.loads(home.rekindle("snapshot", "inspect", second["key"]).out)
    assert "code changed" in known["made_because"]
    assert known["valid"] and known["manifest"]["function"] == "Model"

    home.script("def word(): return 'sight'", "helper_of_test.py")
    assert home.run(script).out == "second sight\n"
    keys = {first["key"], second["key"]}
    (third,) = [entry for entry in home.snapshots() if entry["key"] not in keys]
    assert third["made_because"] and "code changed" not in third["made_because"]

    home.script(MODEL)
    home.script("def word(): return 'word'", "helper_of_test.py")
    ended = home.run(script, "--phases")
    assert "first word" in ended.out, "an edit was taken back"
    assert " restore " in ended.out, "the first snapshot fits again"

    removed = home.rekindle("snapshot", "rm", first["key"][:8])
    assert first["key"] in removed.out
    assert home.run(script).out == "first word\n"
    left = {entry["key"]: entry for entry in home.snapshots()}
    assert set(left) == {first["key"], *keys, third["key"]}
    assert left[first["key"]]["created"] > first["created"], "the removed one is made again"
