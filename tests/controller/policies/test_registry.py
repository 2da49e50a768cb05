import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from rekindle.controller import policies
from rekindle.controller.policies.policy import PoolSettings
from rekindle.exception import InvalidError
from rekindle.wire.messages import plan_message, plan_of
from rekindle.wire.pools import Level
from tests.controller.policies.views import PLAIN, SNAPSHOT, view


def test_every_policy_is_there_by_name() -> None:
    assert {"fixed", "histogram", "greedy-dual", "concurrency", "snapshot-aware"} <= set(
        policies.REGISTRY
    )
    for name in policies.REGISTRY:
        assert type(policies.make(name)) is policies.REGISTRY[name]


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidError, match=r"no policy 'fixd'.*snapshot-aware"):
        policies.make("fixd")


def test_an_unknown_parameter_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidError, match="no parameter 'keep'; it has: keep_s"):
        policies.make("fixed", keep=3)
    with pytest.raises(InvalidError, match="it has: none"):
        policies.make("greedy-dual", clock=3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fixed", {"keep_s": "a minute"}),
        ("fixed", {"keep_s": -1.0}),
        ("fixed", {"rest": "lukewarm"}),
        ("histogram", {"head": 0.9, "tail": 0.1}),
        ("histogram", {"cv": float("nan")}),
        ("concurrency", {"target": 0.0}),
        ("concurrency", {"max_down": 1.0}),
        ("snapshot-aware", {"target_ms": -1.0}),
        ("snapshot-aware", {"quantile": 1.5}),
        ("snapshot-aware", {"gib_hour": -1.0}),
        ("snapshot-aware", {"target_ms": True}),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        policies.make(name, **parameters)


_SETTINGS = st.builds(
    lambda least, more, buffer, spares: PoolSettings(
        min_containers=least,
        max_containers=None if more is None else max(1, least + more),
        buffer_containers=buffer,
        spare_containers=spares,
    ),
    st.integers(0, 5),
    st.none() | st.integers(0, 20),
    st.integers(0, 5),
    st.none() | st.integers(0, 5),
)


@pytest.mark.parametrize("name", policies.REGISTRY)
@pytest.mark.parametrize("levels", [SNAPSHOT, PLAIN], ids=["snapshot", "plain"])
@examples(deadline=None, max_examples=25)
@given(
    settings=_SETTINGS,
    gaps=st.lists(st.floats(0.001, 30_000), max_size=40),
    service_s=st.floats(0, 100),
    busy=st.integers(0, 30),
)
def test_a_plan_keeps_to_min_and_max_and_travels_as_json(
    name: str,
    levels: Any,
    settings: PoolSettings,
    gaps: list[float],
    service_s: float,
    busy: int,
) -> None:
    sizer = policies.make(name).sizer()
    now, demand = 0.0, 0.0
    for gap in gaps:
        now += gap
        sizer.arrived(now)
        sizer.plan(view(now, levels, settings, busy=1, service_s=service_s, demand_s=demand))
        demand += service_s
        now += service_s
        sizer.quiet(now)
    plan = sizer.plan(view(now, levels, settings, busy=busy, service_s=service_s, demand_s=demand))
    most = math.inf if settings.max_containers is None else settings.max_containers
    for quiet_s in (0.0, 0.5, 59.0, 3600.0, 1e6):
        wanted = plan.wanted(0 if quiet_s else busy, quiet_s)
        assert min(settings.min_containers, most) <= wanted <= most
    assert plan.wanted(busy, 0.0) >= min(busy + settings.buffer_containers, most)
    assert all(step.level in Level for step in plan.rest)
    levels_asked = {plan.base, *(step.level for step in plan.rest)}
    assert (plan.spares > 0) is (Level.SPARE in levels_asked)
    assert plan.spares <= most
    if settings.spare_containers is not None:
        assert plan.spares == min(settings.spare_containers, most)
    if settings.spare_containers:  # however quiet it is, and whatever the policy
        held = {plan.base, *(plan.level_at(s) for s in (0.5, 59.0, 3600.0, 1e6))}
        assert held <= {Level.WARM, Level.SPARE} and plan.ahead
    assert plan_of(plan_message(plan)) == plan


@pytest.mark.parametrize("name", policies.REGISTRY)
def test_two_pools_of_one_policy_do_not_share_what_they_have_seen(name: str) -> None:
    policy = policies.make(name)
    used, fresh = policy.sizer(), policy.sizer()
    for minute in range(50):
        used.arrived(60.0 * minute)
        used.plan(view(60.0 * minute, busy=1))
        used.quiet(60.0 * minute + 0.1)
    apart = policies.make(name).sizer()
    assert fresh.plan(view(0.0)) == apart.plan(view(0.0))
