"""``rekindle run`` and Ctrl-C: what ends, what cleans up, and what is left."""

from __future__ import annotations

import signal
import sys

from tests.e2e.harness import Gate, Home, wait_until
from tests.e2e.programs import PLAIN

HELD = (
    Gate.SOURCE
    + """
import rekindle
app = rekindle.App("run-interrupted")

@app.function()
def hold(path):
    try:
        wait_at(path)
    finally:
        print("cleaned up")

@app.function()
def hold_twice(path, again):
    try:
        wait_at(path)
    finally:
        wait_at(again)

@app.cls()
class Queued:
    @rekindle.method()
    def hold(self, path):
        hold.local(path)

    @rekindle.exit()
    def leave(self):
        print("left")

@app.local_entrypoint()
def main(path: str):
    hold.remote(path)

@app.local_entrypoint()
def spawned(path: str):
    Queued().hold.spawn(path).get()

@app.local_entrypoint()
def twice(path: str, again: str):
    hold_twice.remote(path, again)
"""
)


def interrupted(home: Home, entrypoint: str = "main") -> list[str]:
    """Interrupt a run whose call is in flight; what it printed."""
    gate = Gate(home.scripts / f"gate-{entrypoint}")
    script = home.script(HELD)
    program = home.start_rekindle("run", f"{script}::{entrypoint}", "--path", gate.directory)
    program.until("waiting")
    program.interrupt()
    ended = program.end()
    assert ended.status == 130, str(ended)
    assert "Stopping." in ended.err
    assert "Traceback" not in ended.err
    return ended.out.split("\n")


def test_ctrl_c_ends_a_run_with_130_and_leaves_nothing(home: Home) -> None:
    interrupted(home)


def test_what_ctrl_c_interrupts_cleans_up_and_is_heard(shared: Home) -> None:
    assert interrupted(shared) == ["waiting", "cleaned up", ""]
    assert interrupted(shared, "spawned") == ["waiting", "cleaned up", "left", ""]


def test_after_ctrl_c_nothing_of_a_run_is_left_in_what_is_up(shared: Home) -> None:
    interrupted(shared)
    assert "run-interrupted" not in [app["name"] for app in shared.status()["apps"]]
    # Of other tests' programs that were killed, inputs may go on for a moment.
    wait_until(lambda: shared.status()["agents"][0]["in_flight"] == 0, "the agent to have none")
    assert shared.run(shared.script(PLAIN, "after.py")).out.endswith("it is 8\n")


def test_a_second_ctrl_c_ends_the_program_at_once_and_the_app_all_the_same(shared: Home) -> None:
    first, again = Gate(shared.scripts / "gate-first"), Gate(shared.scripts / "gate-again")
    script = shared.script(HELD)
    program = shared.start_rekindle(
        *("run", f"{script}::twice", "--path", first.directory, "--again", again.directory)
    )
    program.until("waiting")
    program.interrupt()
    program.until("waiting", times=2)  # its app is being closed, which waits for it
    program.interrupt()
    assert program.end().status == 130
    with again:
        again.open()
        wait_until(
            lambda: "run-interrupted" not in [app["name"] for app in shared.status()["apps"]],
            "the end of an app whose program is gone",
        )


THREADS = (
    Gate.SOURCE
    + """
import sys
from concurrent.futures import ThreadPoolExecutor
import rekindle
app = rekindle.App("threads")
COUNT = 4

@app.function()
def hold(path):
    wait_at(path)

@app.function()
def items(path):
    wait_at(path)
    yield 1

def all_of_them(path):
    pool = ThreadPoolExecutor(COUNT)
    calls = [hold.remote] * (COUNT - 1) + [lambda path: list(items.remote_gen(path))]
    for one in [pool.submit(call, path) for call in calls]:
        one.result()

@app.local_entrypoint()
def main(path: str):
    all_of_them(path)

if __name__ == "__main__":
    with rekindle.enable_output(), app.run():
        all_of_them(sys.argv[1])
"""
)


def test_ctrl_c_in_a_program_whose_threads_wait_for_calls_shows_itself_alone(shared: Home) -> None:
    script = shared.script(THREADS)
    for number, start in enumerate((shared.start, shared.start_rekindle)):
        gate = Gate(shared.scripts / f"gate-{number}")
        plain = start == shared.start
        argv = (sys.executable, script) if plain else ("run", f"{script}::main", "--path")
        program = start(*argv, gate.directory)
        program.until("waiting", times=4)
        program.interrupt()
        ended = program.end()
        if plain:
            assert ended.status == -signal.SIGINT, str(ended)
            assert ended.err.count("Traceback") == 1, ended.err
            assert ended.err.endswith("KeyboardInterrupt\n") and "/rekindle/sdk/" not in ended.err
        else:
            assert ended.status == 130 and ended.err.endswith("Stopping.\n"), str(ended)
        assert ended.out == "waiting\n" * 4
