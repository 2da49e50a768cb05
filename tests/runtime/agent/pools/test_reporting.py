"""How soon results are told, by what the controller's orders said."""

from __future__ import annotations

import pytest

from rekindle.runtime.agent.inputs.assignment import Order
from rekindle.runtime.agent.pools import reporting
from rekindle.runtime.agent.pools.pace import Pace
from rekindle.runtime.agent.pools.plan import PoolPlan, Sizing
from rekindle.runtime.agent.pools.reporting import Reporting
from rekindle.runtime.agent.pools.runner_set import RunnerSet


def order(*, others_wait: bool) -> Order:
    return Order("fc-1", "fu-1", "ap-1", b"", None, 0, 0, 1, 0, False, others_wait)


def test_what_an_order_said_of_others_counts_until_the_next_one_and_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now)
    made = Reporting(RunnerSet(Sizing(PoolPlan())), Pace())
    assert not made.others_wait
    made.came(order(others_wait=True))
    now += 0.09
    assert made.others_wait
    made.came(order(others_wait=False))
    assert not made.others_wait
    made.came(order(others_wait=True))
    # They went to another node, or were cancelled: nobody says so.
    now += 0.11
    assert not made.others_wait
