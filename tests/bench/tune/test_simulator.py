import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rekindle.bench.tune.outcome import outcome
from rekindle.bench.tune.pools import Node, SimPool
from rekindle.bench.tune.simulator import Simulation
from rekindle.bench.tune.trace import Arrivals, TracedFunction, in_memory
from rekindle.controller import policies
from rekindle.controller.policies.policy import GIB, Policy, PoolSettings, Prices
from rekindle.exception import InvalidError
from rekindle.wire.phases import Strategy
from rekindle.wire.pools import Figures, Level
from tests.bench.tune.reference import Reference
from tests.bench.tune.traces import MIB, SNAPSHOT, plain, trace

EVERY_POLICY = tuple(policies.REGISTRY)


class Watched(Simulation):
    """Looks at every pool after every start: never more than max, never more than the budget."""

    def _start(self, pool: SimPool, now: float, *, make_room: bool) -> bool:
        started = super()._start(pool, now, make_room=make_room)
        most = pool.function.settings.max_containers
        assert most is None or pool.total() <= most
        assert self.used <= self.node.memory_bytes
        assert sum(p.total() for p in self.pools) == self.runners <= self.node.max_runners
        return started


_GAPS = st.lists(
    st.tuples(
        st.floats(0, 400) | st.floats(0, 1), st.integers(0, 2), st.floats(0, 5) | st.floats(0, 0.01)
    ),
    min_size=1,
    max_size=60,
)


@st.composite
def small_traces(draw: st.DrawFn) -> Arrivals:
    """Up to three functions with different levels and settings."""
    functions = []
    for index, levels in enumerate((SNAPSHOT, plain(1.0), plain(0.05, memory_mib=20))):
        least = draw(st.integers(0, 2))
        most = draw(st.none() | st.integers(max(1, least), 6))
        functions.append(
            TracedFunction(
                label=f"f{index}",
                levels=levels,
                settings=PoolSettings(
                    min_containers=least,
                    max_containers=most,
                    buffer_containers=draw(st.integers(0, 2)),
                    spare_containers=draw(st.none() | st.integers(0, 4)),
                    scaledown_window_s=draw(st.sampled_from([0.0, 2.0, 60.0])),
                ),
            )
        )
    now = 0.0
    arrivals = []
    for gap, function, service in draw(_GAPS):
        now += gap
        arrivals.append((now, function, service))
    return in_memory(functions, arrivals)


@pytest.mark.parametrize("name", EVERY_POLICY)
@given(
    given_trace=small_traces(),
    budget=st.sampled_from([math.inf, 1200.0]),
    runners=st.sampled_from([math.inf, 7.0]),
    paced=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_every_arrival_is_started_once_within_max_and_within_memory(
    name: str, given_trace: Arrivals, budget: float, runners: float, paced: bool
) -> None:
    node = Node(memory_bytes=budget * MIB, max_runners=runners, paced=paced)
    simulation = Watched(given_trace, policies.make(name), node).run()
    assert sum(pool.counted() for pool in simulation.pools) == len(given_trace)
    for index, pool in enumerate(simulation.pools):
        expected = sum(1 for which in given_trace.which if which == index)
        assert pool.counted() == expected
        assert not pool.waiting
        assert not pool.busy
        assert all(wait > 0 for wait in pool.waits)
    assert simulation.peak_used <= node.memory_bytes
    held = sum(
        pool.runner_bytes * (len(pool.idle) + pool.starting)
        + pool.base_bytes
        + pool.spares * pool.spare_bytes
        for pool in simulation.pools
    )
    assert simulation.used == pytest.approx(held)


@given(
    gaps=st.lists(st.tuples(st.floats(0, 30), st.floats(0.001, 20)), min_size=1, max_size=60),
    keep_s=st.floats(0, 40),
    start_s=st.floats(0.001, 10),
    most=st.none() | st.integers(1, 4),
)
@settings(deadline=None, max_examples=200)
def test_fixed_keep_alive_is_as_an_independent_reference_finds_it(
    gaps: list[tuple[float, float]], keep_s: float, start_s: float, most: int | None
) -> None:
    # Times that fall together could be taken in another order: none do.
    rng = random.Random(len(gaps))
    now = 0.0
    arrivals = []
    for gap, service in gaps:
        now += gap + rng.uniform(0.001, 0.01)
        arrivals.append((now, service + rng.uniform(0.001, 0.01)))
    made = trace(arrivals, plain(start_s, gpus=1.0), PoolSettings(max_containers=most))
    simulation = Simulation(made, policies.make("fixed", keep_s=keep_s)).run()
    pool = simulation.pools[0]
    reference = Reference(start_s, keep_s, math.inf if most is None else most)
    reference.run(arrivals, made.duration_s)
    assert pool.started == reference.starts
    expected = sorted(wait for wait in reference.waits.values() if wait > 0)
    assert sorted(pool.waits) == pytest.approx(expected, abs=1e-6)
    # A runner that no input was left for is stopped a moment after it is idle.
    assert pool.runner_s == pytest.approx(reference.runner_s, abs=1e-4 * (1 + reference.starts))


@pytest.mark.parametrize("keep_s", [5.0, 30.0, 120.0])
def test_warm_starts_of_poisson_arrivals_are_as_many_as_the_closed_form_says(
    keep_s: float,
) -> None:
    rate, count = 1 / 40, 20_000
    rng = random.Random(7)
    now = 0.0
    arrivals = []
    for _ in range(count):
        now += rng.expovariate(rate)
        arrivals.append((now, 1e-6))
    simulation = Simulation(
        trace(arrivals, plain(1e-6)), policies.make("fixed", keep_s=keep_s)
    ).run()
    warm = simulation.pools[0].warm / count
    expected = 1 - math.exp(-rate * keep_s)
    assert warm == pytest.approx(expected, abs=4 * math.sqrt(0.25 / count))


def run(made: Arrivals, policy: Policy, **node: Any) -> Simulation:
    return Simulation(made, policy, Node(**node)).run()


def test_a_start_is_counted_by_the_level_it_was_made_from() -> None:
    arrivals = [(0.0, 1.0), (1000.0, 1.0)]
    for rest, strategy, wait_s in (
        ("disk", Strategy.RESTORE, 0.3),
        ("cached", Strategy.RESTORE, 0.02),
        ("mapped", Strategy.FORK, 0.008),
    ):
        simulation = run(trace(arrivals, SNAPSHOT), policies.make("fixed", keep_s=5.0, rest=rest))
        pool = simulation.pools[0]
        assert pool.starts[strategy] >= 1
        assert pool.waits[-1] == pytest.approx(wait_s)


def test_memory_is_held_by_runners_and_by_what_lies_below_them() -> None:
    # One runner from 0 (0.3 s to restore, 10 s to run, kept for 60 s), then cached until 1000.
    made = trace([(0.0, 10.0)], SNAPSHOT, duration_s=1000.0)
    simulation = run(made, policies.make("fixed", keep_s=60.0, rest="cached"))
    found = outcome(simulation, Prices())
    lived = 0.3 + 10 + 60
    # Resting cached, its pages are read in at once, and stay.
    expected = (lived * 50 + (1000 - 0.28) * 300) * MIB / GIB / 3600
    assert found.gib_hours == pytest.approx(expected, rel=1e-3)
    idle = (60 * 50 + (1000 - 10.3) * 300) * MIB / GIB / 3600
    assert found.idle_gib_hours == pytest.approx(idle, rel=1e-2)
    assert found.cpu_hours * 3600 == pytest.approx(0.02, abs=0.001)


def test_what_lies_on_disk_costs_what_its_price_says() -> None:
    made = trace([(0.0, 10.0)], SNAPSHOT, duration_s=1000.0)
    simulation = run(made, policies.make("fixed", keep_s=0.0, rest="disk"))
    free, priced = (outcome(simulation, Prices(disk_gib_hour=price)) for price in (0.0, 2.0))
    assert free.disk_gib_hours == pytest.approx(1000 * 300 * MIB / GIB / 3600, rel=0.02)
    assert priced.cost - free.cost == pytest.approx(2.0 * free.disk_gib_hours)


def spared(arrivals: list[tuple[float, float]], spares: int, **node: Any) -> SimPool:
    """The pool of a function that keeps no runner, and so many spares."""
    settings = PoolSettings(spare_containers=spares)
    made = trace(arrivals, SNAPSHOT, settings, duration_s=2000.0)
    return run(made, policies.make("fixed", keep_s=0.0), **node).pools[0]


def test_a_start_takes_a_spare_and_one_without_is_a_fork() -> None:
    pool = spared([(0.0, 1.0)] + [(1000.0, 1.0)] * 5, 3)
    assert (pool.starts[Strategy.SPARE], pool.starts[Strategy.FORK]) == (3, 2)
    assert sorted(pool.waits)[:5] == pytest.approx([0.003] * 3 + [0.008] * 2)


def test_spares_come_again_in_a_pause_of_starts_and_each_is_a_fork() -> None:
    # They are taken at 1000, forked 10 ms after, one by one, and there again.
    pool = spared([(0.0, 1.0), (1000.0, 1.0), (1000.0, 1.0), (1000.016, 1.0), (1000.03, 1.0)], 2)
    assert (pool.starts[Strategy.SPARE], pool.starts[Strategy.FORK]) == (3, 1)
    # The first start and its template, two spares and three more; three starts, and one fork.
    made = SNAPSHOT[Level.DISK].cpu_s + SNAPSHOT[Level.DISK].cpu_s - SNAPSHOT[Level.MAPPED].cpu_s
    forks, starts = 6 * SNAPSHOT[Level.MAPPED].cpu_s, 3 * SNAPSHOT[Level.SPARE].cpu_s
    assert pool.cpu_s == pytest.approx(made + forks + starts)


def test_spares_come_late_while_starts_do_not_pause() -> None:
    pool = spared([(0.0, 1.0)] + [(1000.0 + 0.005 * i, 1.0) for i in range(100)], 2)
    assert pool.starts[Strategy.SPARE] == 2
    pool = spared([(0.0, 1.0)] + [(1000.0 + 0.005 * i, 1.0) for i in range(110)], 2)
    assert pool.starts[Strategy.SPARE] == 4  # half a second is over


def test_spares_hold_memory_and_cost_nothing_where_there_are_none() -> None:
    for count in (0, 4):
        made = trace([(0.0, 1.0)], SNAPSHOT, PoolSettings(spare_containers=count), 1000.0)
        found = outcome(run(made, policies.make("fixed", keep_s=0.0, rest="mapped")), Prices())
        held = count * 4 * MIB * 1000 / GIB / 3600
        assert found.spare_gib_hours == pytest.approx(held, rel=0.01)
        assert found.spare_cost == pytest.approx(held * Prices().gib_hour, rel=0.01)
        below = (350 * 1000 + 50) * MIB / GIB / 3600
        assert found.gib_hours == pytest.approx(below + held, rel=0.01)


def test_spares_are_let_go_before_their_template_and_that_before_others_runners() -> None:
    functions = [
        TracedFunction(label="a", levels=SNAPSHOT, settings=PoolSettings(spare_containers=4)),
        TracedFunction(label="b", levels=plain(1.0, memory_mib=100)),
    ]
    made = in_memory(functions, [(0.0, 0, 1.0), (100.0, 1, 1.0)], duration_s=200.0)
    for budget, spares, base in ((600, 4, Level.MAPPED), (460, 0, Level.MAPPED), (440, 0, None)):
        policy = policies.make("fixed", keep_s=0.0)
        a, b = run(made, policy, memory_bytes=budget * MIB).pools
        assert b.counted() == 1
        if base is not None:
            assert (a.base, a.evicted > 0) == (base, spares == 0), budget
        else:
            assert a.evicted == 2


def test_no_more_spares_wait_than_the_node_may_have_runners_and_memory_for() -> None:
    assert spared([(0.0, 1.0)], 10**9, max_runners=4).spares == 4
    # The template has 350 MiB, a spare 4.
    assert spared([(0.0, 1.0)], 10**9, memory_bytes=471 * MIB).spares == (471 - 350) // 4


def test_a_function_without_a_template_has_no_spares() -> None:
    levels = {**plain(1.0), Level.SPARE: Figures(start_s=0.001)}
    with pytest.raises(InvalidError, match="'spare' needs its template"):
        TracedFunction(label="f", levels=levels)
    made = trace([(0.0, 1.0)] * 3, plain(1.0), PoolSettings(spare_containers=2))
    assert run(made, policies.make("declared")).pools[0].starts[Strategy.SPARE] == 0


def test_gpus_are_held_by_runners_from_the_beginning_of_their_start() -> None:
    made = trace([(0.0, 2.0)], plain(30.0, gpus=2.0), duration_s=100.0)
    found = outcome(run(made, policies.make("fixed", keep_s=8.0)), Prices(gpu_hour=3.0))
    assert found.gpu_hours * 3600 == pytest.approx(2 * (30 + 2 + 8), rel=1e-3)
    assert found.cost == pytest.approx(
        found.gpu_hours * 3.0
        + found.gib_hours * Prices().gib_hour
        + found.cpu_hours * Prices().cpu_hour
    )


@pytest.mark.parametrize("name", EVERY_POLICY)
def test_the_second_input_finds_the_runner_of_the_first_though_no_plan_was_made_between(
    name: str,
) -> None:
    arrivals = [(0.1, 0.01), (0.9, 0.01), (1.5, 0.01)]
    pool = run(trace(arrivals, SNAPSHOT), policies.make(name)).pools[0]
    assert (pool.started, pool.warm) == (1, 2)


def test_a_pool_that_is_never_used_holds_nothing() -> None:
    functions = [TracedFunction(label=name, levels=SNAPSHOT) for name in ("used", "unused")]
    made = in_memory(functions, [(1.0, 0, 1.0), (500.0, 0, 1.0)])
    for name in EVERY_POLICY:
        unused = run(made, policies.make(name)).pools[1]
        assert (unused.started, unused.base_memory_s) == (0, 0.0), name


def test_an_input_takes_a_runner_that_is_free_before_its_own_start_is_over() -> None:
    made = trace([(0.0, 1.0), (10.5, 1.0)], plain(10.0))
    pool = run(made, policies.make("fixed", keep_s=60.0)).pools[0]
    assert list(pool.waits) == pytest.approx([10.0, 0.5])
    assert (pool.warm, pool.starts[Strategy.COLD], pool.started) == (1, 1, 2)


def test_a_runner_made_ready_ahead_of_a_timer_serves_it_warm() -> None:
    arrivals = [(3600.0 * hour, 1.0) for hour in range(40)]
    simulation = run(trace(arrivals, plain(5.0)), policies.make("histogram"))
    pool = simulation.pools[0]
    assert pool.starts[Strategy.COLD] <= 2
    assert pool.runner_s < 0.35 * simulation.end


def test_short_of_memory_the_least_valuable_goes() -> None:
    functions = [TracedFunction(label=name, levels=plain(1.0)) for name in "abc"]
    arrivals = [(2.0 * place, 0, 0.1) for place in range(25)]  # a is used often
    arrivals += [(10.05, 1, 0.1), (30.05, 2, 0.1), (40.05, 1, 0.1)]
    made = in_memory(functions, arrivals)
    simulation = run(made, policies.make("greedy-dual"), memory_bytes=250 * MIB)
    a, b, c = simulation.pools
    assert a.started == 1
    assert b.started == 2  # had to make room for c
    assert b.evicted + c.evicted == 2


def test_an_input_waits_while_all_memory_is_in_use() -> None:
    functions = [TracedFunction(label=name, levels=plain(1.0)) for name in "ab"]
    made = in_memory(functions, [(0.0, 0, 10.0), (1.0, 1, 1.0)])
    simulation = run(made, policies.make("fixed"), memory_bytes=150 * MIB)
    assert list(simulation.pools[1].waits) == pytest.approx([11.0])  # from 1 to 11, then 1 s


def test_many_inputs_at_once_share_the_runners_that_the_node_may_have() -> None:
    made = trace([(0.0, 1.0)] * 100, plain(0.5))
    simulation = run(made, policies.make("fixed"), max_runners=10)
    pool = simulation.pools[0]
    assert pool.started == 10
    assert max(pool.waits) == pytest.approx(9.5)
    assert simulation.end == pytest.approx(10.5)


def test_a_paced_node_starts_no_more_runners_than_there_is_work_for() -> None:
    for service, started in ((0.001, 1), (0.1, 20), (1.0, 100)):
        made = trace([(0.0, service)] + [(9.0, service)] * 101, plain(0.5))
        simulation = run(made, policies.make("fixed"), paced=True)
        assert simulation.pools[0].started == pytest.approx(started, abs=1)


def test_a_paced_node_starts_a_runner_for_an_input_that_is_stuck() -> None:
    arrivals = [(0.0, 0.01), (60.0, 30.0), (60.1, 0.01)]
    pool = run(trace(arrivals, plain(0.5)), policies.make("fixed"), paced=True).pools[0]
    assert pool.started == 2
    assert max(pool.waits) == pytest.approx(0.9)  # stuck for a start's time, then a start


def test_a_node_full_of_runners_gives_up_an_idle_one_for_another_function() -> None:
    functions = [TracedFunction(label=name, levels=plain(1.0)) for name in "ab"]
    made = in_memory(functions, [(0.0, 0, 1.0), (5.0, 1, 1.0)])
    simulation = run(made, policies.make("fixed"), max_runners=1)
    assert simulation.pools[0].evicted == 1
    assert list(simulation.pools[1].waits) == pytest.approx([1.0])


def test_a_function_that_no_node_of_that_size_can_run_is_an_error() -> None:
    with pytest.raises(InvalidError, match=r"f needs .*--memory-gib"):
        run(trace([(0.0, 1.0)], plain(1.0)), policies.make("fixed"), memory_bytes=10 * MIB)


def test_what_min_containers_keeps_from_others_is_an_error_that_says_so() -> None:
    functions = [
        TracedFunction(label="a", levels=plain(1.0), settings=PoolSettings(min_containers=2)),
        TracedFunction(label="b", levels=plain(1.0)),
    ]
    made = in_memory(functions, [(5.0, 1, 1.0)])
    with pytest.raises(InvalidError, match="min_containers"):
        run(made, policies.make("fixed"), memory_bytes=250 * MIB)


def test_levels_without_warm_or_cold_and_a_max_of_0_are_refused() -> None:
    with pytest.raises(InvalidError, match="level 'none'"):
        TracedFunction(label="f", levels={Level.WARM: Figures(start_s=0.0)})
    with pytest.raises(InvalidError, match="max_containers is 0"):
        TracedFunction(label="f", levels=plain(1.0), settings=PoolSettings(max_containers=0))


def test_percentiles_count_every_call_and_evenly_every_function() -> None:
    names = ("hot", "hot too", "rare")
    functions = [TracedFunction(label=name, levels=plain(1.0)) for name in names]
    often = [(0.0 + i, which, 0.001) for i in range(1000) for which in (0, 1)]
    arrivals = sorted([*often, (500.5, 2, 0.001)])
    found = outcome(run(in_memory(functions, arrivals), policies.make("fixed")), Prices())
    assert found.calls == 2001
    assert found.at(99) == 0.0
    assert found.even_p50_ms == 0.0  # of calls of two of the three functions
    assert found.even_p95_ms == found.even_p99_ms == pytest.approx(1000.0)
    assert found.mean_ms == pytest.approx(1000 * 3 / 2001, rel=0.01)


def test_the_same_trace_gives_the_same_figures_again() -> None:
    made: Any = trace([(3.0 * i, 0.5) for i in range(200)], SNAPSHOT)
    one, other = (outcome(run(made, policies.make("snapshot-aware")), Prices()) for _ in range(2))
    assert one == other
