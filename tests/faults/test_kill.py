"""SIGKILL to what runs functions and to who uses them, while a call is in flight.

Nothing may be left behind by any of it.
"""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from rekindle import paths
from tests.e2e.harness import Gate, Home, service, wait_until
from tests.e2e.processes import redis_of
from tests.faults.instances import NEXT, in_flight, kill

#: So long an agent whose connection broke may come back; these do not.
GRACE = {"REKINDLE_AGENT_GRACE_S": "0.5"}


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """Of the shared instance: what was lost is given to another soon."""
    return {**GRACE, "REKINDLE_CRASH_BACKOFF_S": "0.05"}


# ---- the node ----------------------------------------------------------------------------------


def test_the_input_of_a_killed_runner_is_given_to_another(shared: Home, shared_gate: Gate) -> None:
    with in_flight(shared, shared_gate) as flight:
        kill(flight.runner())
        flight.waits_again(2)
        shared_gate.open()
        ended = flight.program.end()
    assert (ended.status, ended.out) == (0, "waiting\nwaiting\ngot held\n" + NEXT), str(ended)


def test_a_runner_killed_again_and_again_is_an_error_that_says_how_it_died(
    shared: Home, shared_gate: Gate
) -> None:
    with in_flight(shared, shared_gate) as flight:
        for times in (2, 3, 4, 5):
            kill(flight.runner())
            flight.waits_again(times)
        kill(flight.runner())
        ended = flight.program.end()
    assert ended.status == 0, str(ended)
    assert "error RunnerLostError" in ended.out
    assert "SIGKILL" in ended.out and "5 times" in ended.out
    assert ended.out.endswith(NEXT)


@pytest.mark.criu
def test_a_killed_template_takes_no_call_with_it(shared: Home, shared_gate: Gate) -> None:
    with in_flight(shared, shared_gate, "--warm", "--model") as flight:
        kill(flight.template())
        assert flight.runner().is_running()
        shared_gate.open()
        ended = flight.program.end()
    assert ended.status == 0, str(ended)
    assert ended.out == "warm 41\nwaiting\ngot 40\n" + NEXT


@pytest.mark.criu
def test_a_killed_template_is_not_missed_by_the_next_start(shared: Home, shared_gate: Gate) -> None:
    """The runner that was forked from it dies too: only a new start can serve the input."""
    with in_flight(shared, shared_gate, "--warm", "--model") as flight:
        kill(flight.template())
        kill(flight.runner())
        flight.waits_again(2)
        shared_gate.open()
        ended = flight.program.end()
    assert ended.status == 0, str(ended)
    assert ended.out == "warm 41\nwaiting\nwaiting\ngot 40\n" + NEXT


def test_the_inputs_of_a_killed_agent_go_to_its_successor(shared: Home, shared_gate: Gate) -> None:
    with in_flight(shared, shared_gate, "--model") as flight:
        agent, runner = flight.service("rekindle.runtime.agent"), flight.runner()
        below = agent.children(recursive=True)
        assert runner in below
        kill(agent)
        _gone, left = psutil.wait_procs(below, timeout=60)
        assert not left, "what the agent had made died with it"
        flight.waits_again(2)
        assert flight.service("rekindle.runtime.agent") != agent
        shared_gate.open()
        ended = flight.program.end()
    assert ended.status == 0, str(ended)
    assert ended.out == "waiting\nwaiting\ngot 40\n" + NEXT


def test_the_inputs_of_a_killed_spawner_run_again(shared: Home, shared_gate: Gate) -> None:
    with in_flight(shared, shared_gate) as flight:
        spawner, runner = flight.service("rekindle.runtime.isolation.spawner"), flight.runner()
        kill(spawner)
        psutil.wait_procs([runner], timeout=60)
        assert not runner.is_running()
        flight.waits_again(2)
        shared_gate.open()
        ended = flight.program.end()
    assert (ended.status, ended.out) == (0, "waiting\nwaiting\ngot held\n" + NEXT), str(ended)


NO_RUNNER_YET = (
    Gate.SOURCE
    + """
from concurrent.futures import ThreadPoolExecutor
import rekindle

app = rekindle.App("late")

@app.function()
def one(n):
    return n + 1

@app.function()
def two(n):
    return n + 2

@app.local_entrypoint()
def main(path: str):
    wait_at(path)
    with ThreadPoolExecutor() as threads:
        spawned = one.spawn(1)
        print("spawned", flush=True)
        waited_for = threads.submit(two.remote, 1)
        print("got", spawned.get(), waited_for.result(), flush=True)
"""
)


def connections_to(path: Path) -> int:
    """How many sockets of this machine have this path: the listening one, and each connection."""
    return Path("/proc/net/unix").read_bytes().count(f" {path}\n".encode())


def test_calls_that_meet_a_killed_spawner_are_served(shared: Home, shared_gate: Gate) -> None:
    """They reach the agent, stopped until then, together with the news."""
    script = shared.script(NO_RUNNER_YET)
    program = shared.start_rekindle("run", script, "--path", shared_gate.directory)
    program.until("waiting")
    agent = service(shared.supervisor(), "rekindle.runtime.agent")
    socket = paths.direct_socket(shared.daemon)
    agent.suspend()
    try:
        before = connections_to(socket)
        shared_gate.open()
        program.until("spawned")
        wait_until(lambda: connections_to(socket) > before, "a program that asks for a runner")
        spawner = service(agent, "rekindle.runtime.isolation.spawner")
        spawner.kill()
        wait_until(lambda: spawner.status() == psutil.STATUS_ZOMBIE, "the spawner's end")
    finally:
        agent.resume()
    ended = program.end()
    assert (ended.status, ended.out) == (0, "waiting\nspawned\ngot 2 3\n"), str(ended)


# ---- everything --------------------------------------------------------------------------------


def everything_killed_at_once(home: Home, gate: Gate, **environ: str) -> None:
    """Controller, Redis and agent die together; the call comes home all the same."""
    with in_flight(home, gate, **environ) as flight:
        dying = [
            flight.service("rekindle.controller"),
            redis_of(flight.supervisor),
            flight.service("rekindle.runtime.agent"),
        ]
        for process in dying:
            process.kill()
        flight.waits_again(2)
        gate.open()
        ended = flight.program.end()
    assert ended.status == 0, str(ended)
    assert ended.out.endswith("got held\n" + NEXT)


def test_controller_and_redis_and_agent_killed_at_once(shared: Home, shared_gate: Gate) -> None:
    everything_killed_at_once(shared, shared_gate)


def test_controller_and_redis_and_agent_of_a_private_instance_killed_at_once(
    home: Home, gate: Gate
) -> None:
    everything_killed_at_once(home, gate, **GRACE)


# ---- the supervisor ----------------------------------------------------------------------------


def test_a_supervisor_that_hears_late_of_a_death_survives_it(
    shared: Home, shared_gate: Gate
) -> None:
    """All that there is to hear of a dead agent then comes at once: its end, and its pipe's."""
    with in_flight(shared, shared_gate) as flight:
        supervisor, agent = flight.supervisor, flight.service("rekindle.runtime.agent")
        below = agent.children(recursive=True)
        supervisor.suspend()
        try:
            agent.kill()
            _gone, left = psutil.wait_procs(below, timeout=60)
            assert not left
        finally:
            supervisor.resume()
        flight.waits_again(2)
        assert shared.supervisor() == supervisor
        shared_gate.open()
        ended = flight.program.end()
    assert (ended.status, ended.out) == (0, "waiting\nwaiting\ngot held\n" + NEXT), str(ended)


def test_a_killed_supervisor_takes_its_private_instance_with_it(home: Home, gate: Gate) -> None:
    with in_flight(home, gate, REKINDLE_CONNECT_TIMEOUT_S="600") as flight:
        everything = flight.everything()
        assert len(everything) > 5
        kill(flight.supervisor)
        _gone, left = psutil.wait_procs(everything, timeout=60)
        assert not left, f"left: {left}"
        ended = flight.program.end()  # at once, however long it would wait for a controller
    assert ended.status == 1, str(ended)
    assert "error ConnectionError" in ended.out
    assert "Traceback" not in ended.err


def test_after_a_killed_supervisor_up_again_finishes_what_was_in_flight(
    home: Home, gate: Gate
) -> None:
    home.up(**GRACE)
    with in_flight(home, gate) as flight:
        everything = flight.everything()
        kill(flight.supervisor)
        _gone, left = psutil.wait_procs(everything, timeout=60)
        assert not left, f"left: {left}"
        home.up(**GRACE)
        flight.waits_again(2)
        gate.open()
        ended = flight.program.end()
    assert (ended.status, ended.out) == (0, "waiting\nwaiting\ngot held\n" + NEXT), str(ended)


# ---- the client --------------------------------------------------------------------------------


def test_a_killed_client_takes_its_private_instance_with_it(home: Home, gate: Gate) -> None:
    with in_flight(home, gate) as flight:
        everything = flight.everything()
        flight.program.kill()
        _gone, left = psutil.wait_procs(everything, timeout=60)
        assert not left, f"left: {left}"
        assert not list((home.path / "run").iterdir())


def test_the_runners_of_a_killed_client_end_and_its_app_is_closed(home: Home, gate: Gate) -> None:
    home.up(REKINDLE_HOLD_GRACE_S="3")
    with in_flight(home, gate) as flight:
        runner = flight.runner()
        flight.program.kill()
        _gone, left = psutil.wait_procs([runner], timeout=60)
        assert not left, "its runner still runs"
        wait_until(lambda: not home.status()["apps"], "the app to be closed")
        report = home.status()
        assert report["agents"][0]["in_flight"] == 0
    gate.open()
    ended = home.run(home.scripts / "script.py", "--path", str(gate.directory))
    assert ended.out.endswith("got held\n" + NEXT)


def test_down_ends_what_is_in_flight_with_a_clear_error(home: Home, gate: Gate) -> None:
    home.up()
    with in_flight(home, gate, REKINDLE_CONNECT_TIMEOUT_S="1") as flight:
        everything = flight.everything()
        home.rekindle("down")
        _gone, left = psutil.wait_procs(everything, timeout=60)
        assert not left
        ended = flight.program.end()
    assert ended.status == 1, str(ended)
    assert "error " in ended.out and "Error" in ended.out
    assert "Traceback" not in ended.err
