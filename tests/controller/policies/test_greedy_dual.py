from rekindle.controller import policies
from rekindle.wire.pools import Level
from tests.controller.policies.views import PLAIN, SNAPSHOT, view


def test_nothing_is_stopped_but_for_memory() -> None:
    plan = policies.make("greedy-dual").sizer().plan(view(0.0))
    assert plan.keep_s == float("inf")
    assert plan.level_at(1e9) is Level.WARM


def test_priority_is_clock_and_frequency_times_cost_over_size() -> None:
    policy = policies.make("greedy-dual")
    sizer = policy.sizer()
    for _ in range(3):
        sizer.arrived(0.0)
    plan = sizer.plan(view(0.0, PLAIN, idle=1))
    assert plan.priority_of(Level.WARM) == 3 * 4.2 / 450
    policy.evicted(0.5)
    sizer.arrived(1.0)
    assert sizer.plan(view(1.0, PLAIN, idle=1)).priority_of(Level.WARM) == 0.5 + 4 * 4.2 / 450


def test_what_is_used_more_and_dearer_to_start_is_worth_more() -> None:
    policy = policies.make("greedy-dual")
    rare, often, quick = policy.sizer(), policy.sizer(), policy.sizer()
    rare.arrived(0.0)
    for _ in range(10):
        often.arrived(0.0)
        quick.arrived(0.0)
    plans = [
        rare.plan(view(1.0, PLAIN, idle=1)),
        often.plan(view(1.0, PLAIN, idle=1)),
        quick.plan(view(1.0, {**SNAPSHOT, Level.WARM: PLAIN[Level.WARM]}, idle=1)),
    ]
    values = [plan.priority_of(Level.WARM) for plan in plans]
    assert values[1] > values[0] > 0
    assert values[1] > values[2]  # a restore is quick to make up for


def test_uses_are_counted_anew_when_the_last_runner_has_gone() -> None:
    sizer = policies.make("greedy-dual").sizer()
    for _ in range(10):
        sizer.arrived(0.0)
    sizer.plan(view(0.0, PLAIN))  # no runner at all
    sizer.arrived(1.0)
    assert sizer.plan(view(1.0, PLAIN, busy=1)).priority_of(Level.WARM) == 2 * 4.2 / 450


def test_the_clock_never_goes_back() -> None:
    policy = policies.make("greedy-dual")
    policy.evicted(2.0)
    policy.evicted(1.0)
    assert policy.sizer().plan(view(0.0, PLAIN)).priority_of(Level.WARM) == 2.0
