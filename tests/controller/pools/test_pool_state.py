"""What a sizer is told of a pool: arrivals, and where quiet times begin."""

from __future__ import annotations

from rekindle.controller.pools.pool_settings import Changes, resolve
from rekindle.controller.pools.pool_state import PoolState
from rekindle.controller.state import App, Function
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import FunctionSpec


class Sizer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []

    def arrived(self, now: float) -> None:
        self.told.append(("arrived", now))

    def quiet(self, now: float) -> None:
        self.told.append(("quiet", now))

    def plan(self, view: object) -> object:
        raise AssertionError


def a_pool() -> tuple[PoolState, Sizer]:
    spec = FunctionSpec(app_name="a", name="f")
    function = Function("fu-1", "f", App("ap-1", "a", False), spec)
    sizer = Sizer()
    force = resolve(spec, Changes(), Changes(), "declared")
    return PoolState(function, "", b"", force, sizer, 0.0), sizer  # type: ignore[arg-type]


def test_a_quiet_time_begins_with_the_end_of_the_last_input() -> None:
    pool, sizer = a_pool()
    pool.arrived(2, 1.0)
    assert not pool.ended(1, 2.0)
    assert pool.ended(1, 3.0)
    assert sizer.told == [("arrived", 1.0), ("arrived", 1.0), ("quiet", 3.0)]
    assert pool.demand_s == 3.0, "two inputs for a second, one for another"


def test_an_end_that_was_not_counted_as_an_arrival_changes_nothing() -> None:
    pool, sizer = a_pool()
    assert not pool.ended(3, 1.0)
    assert pool.in_flight == 0 and not sizer.told


def test_direct_calls_are_one_busy_time_until_the_agents_tell_of_nothing_that_runs() -> None:
    pool, sizer = a_pool()
    pool.direct(3, 0.5, 10.0)
    pool.reported["ag-1"] = pb.HeldPool(busy=1)
    assert not pool.rested(10.0)
    pool.direct(1, 0.5, 11.0)
    pool.reported["ag-1"] = pb.HeldPool(busy=0)
    assert pool.rested(10.5), "it cannot have been quiet before the last call was told"
    assert not pool.rested(12.0), "told once"
    assert sizer.told == [("arrived", 10.0)] * 3 + [("arrived", 11.0), ("quiet", 11.0)]
    assert pool.demand_s == 1.0
