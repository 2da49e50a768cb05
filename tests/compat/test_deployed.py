"""Rows on deployed apps, snapshots, and programs that run apps themselves (1, 2, 3, 10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import rekindle
from rekindle.exception import InvalidError
from tests.e2e.harness import Home

_PROGRAM = """
    import json, os, random, sys, uuid
    import rekindle as modal

    app = modal.App("compat-deployed", tags={"team": "a"})

    @app.function()
    def version():
        return VERSION

    @app.function(max_containers=4)
    def calls():
        return version.remote()

    @app.cls(enable_memory_snapshot=True, single_use_containers=True)
    class Model:
        @modal.enter(snap=True)
        def load(self):
            self.loaded = str(uuid.uuid4())

        @modal.enter()
        def start(self):
            self.started = str(uuid.uuid4())

        @modal.method()
        def run(self):
            return [self.loaded, self.started, random.random()]

    def raised(call):
        try:
            call()
        except BaseException as error:
            return [type(error).__name__, str(error)]
        return None

    if __name__ == "__main__":
        made = app.deploy(tag="first")
        again = app.deploy(tag="")
        look = lambda **of: modal.Function.from_name("compat-deployed", "calls", **of)
        print(json.dumps({
            "versions": [made.version, again.version, again.unchanged],
            "called": [look().remote(), look(version=1).remote()],
            "limit": look().autoscaler.settings().max_containers,
            "narrowed": look().autoscaler.update(max_containers=2),
            "limit then": look().autoscaler.settings().max_containers,
            "models": [modal.Cls.from_name("compat-deployed", "Model")().run.remote()
                       for _ in range(3)],
            "no such": [
                raised(modal.Cls.from_name("compat-deployed", "Nothing").hydrate),
                raised(lambda: modal.Cls.from_name("compat-deployed", "Model")().other.remote()),
                raised(look(version=9).hydrate),
                raised(lambda: modal.App.lookup("compat-none")),
            ],
            "made": modal.App.lookup("compat-none", create_if_missing=True).name,
            "by id": modal.Function.from_id(look().hydrate().object_id).remote(),
        }))
"""
_STOPS = """
    import json
    import rekindle as modal
    app = modal.App.lookup("compat-deployed")
    app.stop()
    try:
        modal.Function.from_name("compat-deployed", "calls").remote()
    except modal.Error as error:
        print(json.dumps(type(error).__name__))
"""


@pytest.fixture(scope="module")
def found(instance: Home) -> Iterator[dict[str, Any]]:
    with instance.another_place() as place:
        script = place.script(_PROGRAM.replace("VERSION", "1"))
        first = place.python(script).value
        place.script(_PROGRAM.replace("VERSION", "2"))
        yield {"first": first, "second": place.python(script).value} | {
            "stopped": place.python(place.script(_STOPS, "stops.py")).value
        }


def test_an_unchanged_app_is_no_new_version_and_a_changed_one_is(found: dict[str, Any]) -> None:
    assert found["first"]["versions"] == [1, 1, True]
    assert found["second"]["versions"] == [2, 2, True]


def test_a_look_up_of_a_version_calls_that_version_and_what_it_calls_is_of_it(
    found: dict[str, Any],
) -> None:
    assert found["first"]["called"] == [1, 1] and found["second"]["called"] == [2, 1]
    assert found["second"]["by id"] == 2


def test_what_the_autoscaler_was_told_lasts_until_the_next_version(found: dict[str, Any]) -> None:
    for one in (found["first"], found["second"]):
        assert (one["limit"], one["limit then"]) == (4, 2)


def test_hooks_before_the_snapshot_run_once_and_those_behind_it_in_each_runner(
    found: dict[str, Any],
) -> None:
    """Random state is that of each; there all have the same."""
    loaded, started, numbers = (set(one) for one in zip(*found["first"]["models"], strict=True))
    assert (len(loaded), len(started), len(numbers)) == (1, 3, 3)
    assert loaded != {one for one, *_ in found["second"]["models"]}  # new code, new snapshot


def test_what_is_not_deployed_is_not_found(found: dict[str, Any]) -> None:
    no_class, no_method, no_version, no_app = found["first"]["no such"]
    assert {one[0] for one in found["first"]["no such"]} == {"NotFoundError"}
    assert "'Nothing'" in no_class[1] and "'other'" in no_method[1]
    assert "no version 9" in no_version[1] and "compat-none" in no_app[1]
    assert found["first"]["made"] == "compat-none"  # by create_if_missing=True
    assert found["second"]["no such"][3] is None


def test_an_app_that_is_stopped_is_called_no_more(found: dict[str, Any]) -> None:
    assert found["stopped"] == "ExecutionError"


def test_a_program_that_runs_an_app_itself_is_silent_unless_it_enables_output(shared: Home) -> None:
    text = """
        import sys
        import rekindle as modal

        app = modal.App("silent")

        @app.function()
        def speaks():
            print("said in a runner")
            return 1

        if __name__ == "__main__":
            with app.run():
                speaks.remote()
            if "loud" in sys.argv:
                with modal.enable_output(), app.run():
                    speaks.remote()
    """
    script = shared.script(text, "silent.py")
    assert (shared.python(script).out, shared.python(script).err) == ("", "")
    loud = shared.python(script, "loud")
    assert loud.out.count("said in a runner") == 1


def test_an_app_is_not_run_while_its_module_is_imported(shared: Home) -> None:
    text = """
        import rekindle as modal
        app = modal.App("at-import")

        @app.function()
        def f():
            return 1

        with app.run():
            f.remote()
    """
    ended = shared.run(f"{shared.script(text, 'at_import.py')}::f", status=1)
    assert "InvalidError" in ended.err and "import" in ended.err


def test_a_schedule_needs_a_function_without_arguments() -> None:
    with pytest.raises(InvalidError, match="arguments"):

        @rekindle.App("scheduled").function(schedule=rekindle.Period(hours=1))
        def needs(x: int) -> int:
            return x


def test_a_class_has_no_options_that_are_those_of_one_function() -> None:
    cls: Any = rekindle.App("cls").cls
    for option in ("name", "is_generator"):
        with pytest.raises(TypeError, match=option):
            cls(**{option: None})
    with pytest.raises(InvalidError, match="only a function has a schedule"):
        cls(schedule=rekindle.Period(hours=1))(type("C", (), {}))


@pytest.mark.parametrize(
    "gpu", ["any", "t4", "A100-80GB:2", "h100", "H100!", "B200+", ["H100", "A100", "any"]]
)
def test_gpus_are_named_as_there(gpu: Any) -> None:
    @rekindle.App("gpu").function(gpu=gpu)
    def f() -> int:
        return 1

    assert f.local() == 1


@pytest.mark.parametrize("gpu", ["H100:0", "no-such-gpu", "H100:x", 1])
def test_gpus_that_cannot_be_are_refused_at_import(gpu: Any) -> None:
    with pytest.raises(InvalidError, match="gpu"):
        rekindle.App("gpu").function(gpu=gpu)
