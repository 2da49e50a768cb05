"""What the controller knows of functions in memory."""

from __future__ import annotations

import pytest

from rekindle.controller.state import App, Function
from rekindle.wire.spec import FunctionSpec


def function() -> Function:
    """One of which nothing is known."""
    return Function("fu-1", "f", App("ap-1", "a", False), FunctionSpec(app_name="a", name="f"))


def test_what_inputs_take_follows_inputs_that_take_less_after_some_of_them() -> None:
    made = function()
    made.learn(100, 100 * 200_000_000)
    assert made.mean_ns == 200_000_000
    made.learn(16, 16 * 10_000_000)
    assert 10_000_000 < made.mean_ns < 40_000_000
    made.learn(64, 64 * 10_000_000)
    assert made.mean_ns == pytest.approx(10_000_000, rel=0.01)


def test_it_makes_no_difference_how_many_results_travel_together() -> None:
    apart, together = function(), function()
    for one in (apart, together):
        one.learn(1, 200)
    for _ in range(10):
        apart.learn(1, 10)
    together.learn(10, 100)
    assert apart.mean_ns == pytest.approx(together.mean_ns)


def test_what_did_not_run_says_nothing_of_what_inputs_take() -> None:
    made = function()
    made.learn(5, 0)
    assert made.mean_ns == 0
