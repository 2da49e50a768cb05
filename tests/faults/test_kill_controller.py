"""SIGKILL to the controller and to Redis while a call is in flight: it comes home, having run once.

Each alone, in an instance that is up; with the agent, and in a private instance: test_kill.py.
"""

from __future__ import annotations

import pytest

from tests.e2e.harness import Gate, Home
from tests.e2e.processes import redis_of
from tests.faults.instances import NEXT, in_flight, kill


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """However long the agent takes to come back on a busy machine: no input is given to another."""
    return {"REKINDLE_AGENT_GRACE_S": "60"}


def test_a_killed_controller_loses_no_call_and_runs_none_twice(
    shared: Home, shared_gate: Gate
) -> None:
    with in_flight(shared, shared_gate) as flight:
        controller, runner = flight.service("rekindle.controller"), flight.runner()
        kill(controller)
        assert runner.is_running()
        shared_gate.open()
        ended = flight.program.end()
    assert (ended.status, ended.out) == (0, "waiting\ngot held\n" + NEXT), str(ended)


def test_a_killed_redis_loses_no_call(shared: Home, shared_gate: Gate) -> None:
    with in_flight(shared, shared_gate) as flight:
        kill(redis_of(flight.supervisor))
        shared_gate.open()
        ended = flight.program.end()
    assert (ended.status, ended.out) == (0, "waiting\ngot held\n" + NEXT), str(ended)
