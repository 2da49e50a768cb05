from rekindle.controller import policies
from rekindle.controller.policies.policy import PoolSettings
from rekindle.wire.pools import SPARES, Figures, Level
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


def test_declared_keeps_the_usual_spares_and_makes_no_template_for_them() -> None:
    plan = policies.make("declared").sizer().plan(view(0.0, SNAPSHOT))
    assert (plan.base, plan.level_at(1e6), plan.spares) == (Level.SPARE, Level.SPARE, SPARES)
    assert not plan.ahead
    none = PoolSettings(spare_containers=0)
    plan = policies.make("declared").sizer().plan(view(0.0, SNAPSHOT, none))
    assert (plan.base, plan.level_at(1e6), plan.spares) == (Level.BOOTED, Level.BOOTED, 0)
    some = PoolSettings(spare_containers=5)
    plan = policies.make("declared").sizer().plan(view(0.0, SNAPSHOT, some))
    assert (plan.spares, plan.ahead) == (5, True)


def test_by_default_spares_take_no_more_than_their_template() -> None:
    template = SNAPSHOT[Level.MAPPED].memory_bytes
    for spare, count in ((template // 2, 2), (template + 1, 0)):
        levels = {**SNAPSHOT, Level.SPARE: Figures(start_s=0.003, memory_bytes=spare)}
        plan = policies.make("declared").sizer().plan(view(0.0, levels))
        assert plan.spares == count
        assert (plan.level_at(1e6) is Level.SPARE) is (count > 0)


def test_fixed_can_rest_with_spares() -> None:
    plan = policies.make("fixed", rest="spare").sizer().plan(view(0.0, SNAPSHOT))
    assert (plan.level_at(1e6), plan.spares, plan.ahead) == (Level.SPARE, SPARES, True)
    assert policies.make("fixed").sizer().plan(view(0.0, SNAPSHOT)).spares == 0


def test_the_same_plan_is_given_again_while_nothing_changes() -> None:
    sizer = policies.make("fixed").sizer()
    first = sizer.plan(view(0.0))
    assert sizer.plan(view(9.0)) is first
    assert sizer.plan(view(9.0, settings=PoolSettings(min_containers=2))).runners == 2
