import statistics
from itertools import pairwise

import pytest

from lab.workload import Workload, generate, without_snapshots
from rekindle.bench.tune.trace import Arrivals
from rekindle.wire.pools import Level

_WORKLOAD = Workload(functions=600, duration_s=86400.0, most_per_s=0.02)


@pytest.fixture(scope="module")
def trace() -> Arrivals:
    return generate(_WORKLOAD)


def gaps_of(trace: Arrivals, trigger: str) -> list[list[float]]:
    """Times between the arrivals of each function of a trigger that has enough of them."""
    times: dict[int, list[float]] = {}
    for when, which in zip(trace.times, trace.which, strict=True):
        times.setdefault(which, []).append(when)
    return [
        [b - a for a, b in pairwise(found)]
        for which, found in times.items()
        if trace.functions[which].label.startswith(trigger) and len(found) > 100
    ]


def variation(gaps: list[float]) -> float:
    return statistics.pstdev(gaps) / statistics.fmean(gaps)


def test_the_same_seed_gives_the_same_trace_and_another_one_another() -> None:
    small = Workload(functions=20, duration_s=7200)
    assert generate(small).times == generate(small).times
    assert generate(small).times != generate(Workload(functions=20, duration_s=7200, seed=2)).times


def test_about_half_of_the_functions_are_called_at_most_once_an_hour(trace: Arrivals) -> None:
    counts = [0] * len(trace.functions)
    for which in trace.which:
        counts[which] += 1
    # 45 % by the distribution; timers have the nearest period of a crontab.
    assert 0.38 < sum(count <= 24 for count in counts) / len(counts) < 0.52
    assert 0.72 < sum(count <= 1440 for count in counts) / len(counts) <= 1.0


def test_timers_fire_evenly_and_queues_in_bursts(trace: Arrivals) -> None:
    assert all(variation(gaps) < 0.05 for gaps in gaps_of(trace, "timer"))
    assert all(variation(gaps) > 1.3 for gaps in gaps_of(trace, "queue"))
    http = [variation(gaps) for gaps in gaps_of(trace, "http")]
    assert 0.9 < statistics.median(http) < 1.3


def test_triggers_have_the_published_shares(trace: Arrivals) -> None:
    triggers = [function.label.split("-")[0] for function in trace.functions]
    for trigger, share in (("http", 0.55), ("timer", 0.16), ("queue", 0.15)):
        assert abs(triggers.count(trigger) / len(triggers) - share) < 0.05


def test_the_median_function_has_the_published_memory(trace: Arrivals) -> None:
    memory = [f.levels[Level.CACHED].memory_bytes / 1e6 for f in trace.functions]
    # Half of the applications take at most about 170 MB, 90 % at most 400 MB.
    assert 120 < statistics.median(memory) < 190
    assert 250 < statistics.quantiles(memory, n=10)[-1] < 450


def test_without_snapshots_the_arrivals_are_the_same_and_levels_warm_and_cold_alone(
    trace: Arrivals,
) -> None:
    plain = without_snapshots(trace)
    assert plain.times is trace.times
    assert all(set(f.levels) == {Level.WARM, Level.NONE} for f in plain.functions)
