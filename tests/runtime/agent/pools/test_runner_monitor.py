"""A look at a runner whose input has the user's terminal: no timeout runs meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rekindle.runtime.agent.leases.lease import Lease, LeaseState
from rekindle.runtime.agent.pools.runner_monitor import look_at
from rekindle.runtime.agent.runners.runner import RunnerState
from rekindle.wire.page import RunnerPage


@pytest.fixture
def runner() -> Iterator[Any]:
    """What is looked at of a runner, with a real page; its input began at 5 s."""
    page = RunnerPage.create()
    page.begin(0, 5_000_000_000)
    running = SimpleNamespace(index=0, cancel=None)
    piece = SimpleNamespace(left={0: running}, order=None, number=1)
    killed: list[str] = []
    yield SimpleNamespace(
        dying=False,
        slices=[piece],
        page=page,
        seen_began_ns=0,
        seen_at=0.0,
        recalled_at=0.0,
        kill_for=None,
        kill=killed.append,
        killed=killed,
        state=RunnerState.LENT,
        slots=None,
    )
    page.close()


def test_the_time_of_an_input_begins_again_after_the_terminal(runner: Any) -> None:
    from rekindle.runtime.agent.inputs.assignment import Cancel

    runner.slices[0].left[0].cancel = Cancel.NO
    look_at(runner, 100.0, timeout_s=10, slow_s=1000)
    runner.page.interact(True)
    assert look_at(runner, 200.0, timeout_s=10, slow_s=1000).running_s == 0
    runner.page.interact(False)
    assert look_at(runner, 209.0, timeout_s=10, slow_s=1000).running_s == 9
    assert not runner.killed
    look_at(runner, 211.0, timeout_s=10, slow_s=1000)
    assert runner.killed == ["the input ran longer than timeout=10 s"]


def test_the_time_of_a_direct_call_begins_again_after_the_terminal(runner: Any) -> None:
    pool: Any = SimpleNamespace()
    lease = Lease("le-1", "token", pool, runner, state=LeaseState.HELD)
    assert lease.ran_s(9_000_000_000) == 4
    runner.page.interact(True)
    assert lease.ran_s(300_000_000_000) == 0
    runner.page.interact(False)
    assert lease.ran_s(307_000_000_000) == 7
