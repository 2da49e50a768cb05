"""Rows on delivery (section 6): who waits no more, starts that take too long, runners that end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.harness import Home, wait_until

_PROGRAM = """
    import json, os, pathlib, sys, time
    import rekindle as modal

    app = modal.App("delivery")
    HERE = pathlib.Path({here!r})

    def until(name):
        while not (HERE / name).exists():
            time.sleep(0.01)

    @app.function()
    def direct():
        (HERE / "direct begun").touch()
        try:
            until("never")
        except BaseException as error:
            (HERE / "direct ended").write_text(type(error).__name__)
            raise

    @app.function()
    def spawned():
        (HERE / "spawned begun").touch()
        until("go")
        return "went on"

    @app.function(max_containers=1)
    @modal.concurrent(max_inputs=2)
    def beside(name):
        with open(HERE / name, "a") as file:
            file.write(os.environ["REKINDLE_RUNNER_ID"] + " ")
        until("go")
        return name

    @app.cls(startup_timeout=1, timeout=60)
    class Slow:
        @modal.enter()
        def load(self):
            until("never")

        @modal.method()
        def run(self):
            return 1

    @app.local_entrypoint()
    def dies():
        print(spawned.spawn().object_id, flush=True)
        direct.remote()

    @app.local_entrypoint()
    def later(call: str):
        (HERE / "go").touch()
        print(json.dumps(modal.FunctionCall.from_id(call).get()))

    @app.local_entrypoint()
    def terminated():
        one, other = beside.spawn("one"), beside.spawn("other")
        until("one")
        until("other")
        one.cancel(terminate_containers=True)
        while len((HERE / "other").read_text().split()) < 2:
            time.sleep(0.01)
        (HERE / "go").touch()
        error = None
        try:
            one.get()
        except modal.Error as raised:
            error = type(raised).__name__
        both = [(HERE / name).read_text().split() for name in ("one", "other")]
        print(json.dumps([error, other.get(), both]))

    @app.local_entrypoint()
    def slow():
        try:
            Slow().run.remote()
        except modal.Error as error:
            print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.fixture
def here(shared: Home) -> Path:
    made = shared.scripts / "here"
    made.mkdir()
    shared.script(_PROGRAM.format(here=str(made)))
    return made


def test_the_direct_call_of_a_caller_that_dies_is_cancelled_and_a_spawned_one_goes_on(
    shared: Home, here: Path
) -> None:
    program = shared.start_rekindle("run", "--detach", "script.py::dies")
    program.until("fc-")
    wait_until(
        lambda: (here / "direct begun").exists() and (here / "spawned begun").exists(), "both run"
    )
    program.kill()
    wait_until(lambda: (here / "direct ended").exists(), "the direct call is cancelled")
    assert (here / "direct ended").read_text() == "InputCancellation"
    call = next(word for word in program.text().split() if word.startswith("fc-"))
    assert shared.run("script.py::later", "--call", call).value == "went on"


@pytest.mark.usefixtures("here")
def test_a_start_has_a_timeout_of_its_own(shared: Home) -> None:
    kind, words = shared.run("script.py::slow").value
    assert kind == "StartupTimeoutError" and "startup_timeout" in words


@pytest.mark.usefixtures("here")
def test_what_runs_beside_an_input_whose_runner_is_ended_runs_again(shared: Home) -> None:
    error, value, (one, other) = shared.run("script.py::terminated").value
    assert error == "RemoteError" and value == "other"
    assert len(one) == 1 and len(other) == 2
    assert one == other[:1] and other[1] not in one  # they were beside each other
