from rekindle.controller import policies
from rekindle.controller.policies.policy import PoolSettings
from rekindle.wire.pools import Level
from tests.controller.policies.views import PLAIN, SNAPSHOT, view


def test_the_window_is_the_functions_own_unless_one_is_given() -> None:
    settings = PoolSettings(scaledown_window_s=17.0)
    assert policies.make("fixed").sizer().plan(view(0.0, settings=settings)).keep_s == 17.0
    plan = policies.make("fixed", keep_s=5.0).sizer().plan(view(0.0, settings=settings))
    assert plan.keep_s == 5.0
    assert plan.wanted(0, 4.9) == 1
    assert plan.wanted(0, 5.1) == 0


def test_afterwards_a_pool_rests_where_it_costs_no_memory() -> None:
    assert policies.make("fixed").sizer().plan(view(0.0, SNAPSHOT)).level_at(1e6) is Level.DISK
    assert policies.make("fixed").sizer().plan(view(0.0, PLAIN)).level_at(1e6) is Level.NONE


def test_it_can_be_told_to_rest_warmer() -> None:
    policy = policies.make("fixed", rest="cached")
    assert policy.sizer().plan(view(0.0, SNAPSHOT)).level_at(1e6) is Level.CACHED
    assert policy.sizer().plan(view(0.0, PLAIN)).level_at(1e6) is Level.NONE


def test_the_same_plan_is_given_again_while_nothing_changes() -> None:
    sizer = policies.make("fixed").sizer()
    first = sizer.plan(view(0.0))
    assert sizer.plan(view(9.0)) is first
    assert sizer.plan(view(9.0, settings=PoolSettings(min_containers=2))).runners == 2
