"""Traces with the published statistics of Azure Functions, for where no trace is at hand.

The parameters, and where each comes from ("Wild" is Shahrad et al., "Serverless in the Wild",
USENIX ATC 2020; "Huawei" is Joosen et al., "Serverless Cold Starts and Where to Find Them",
EuroSys 2025):

- Rates: 45 % of applications are invoked at most once an hour on average and 81 % at most once a
  minute, over a range of eight orders of magnitude (Wild, 3.3). A log-normal distribution through
  these two points has, in powers of ten a day, mean 1.60 and deviation 1.77. The few above
  ``most_per_s`` are cut to it: they are warm under any policy, and would be most of the work.
- Triggers: 55 % of functions HTTP, 16 % timers, 15 % queues, 7 % orchestration, 2 % events, 5 %
  others (Wild, table of triggers).
- Over the day, half of the load does not vary, the other half follows the day (Wild, 3.2).
- Arrivals: timers fire on time, with a jitter that is ours (0.1 s), at the usual periods of a
  crontab. HTTP and others are Poisson, varying over the day. Queues, events and orchestration come
  in bursts, so that the coefficient of variation of their gaps is well above 1, as for a good part
  of Wild's applications; that a burst has 8 inputs on average, half a second apart, is ours.
- Service times: a function's mean is log-normal, log mean -0.38, deviation 2.36, in seconds (Wild,
  figure 7), cut at five minutes (the limit of that service); single inputs vary around it by half
  (ours).
- Memory: Burr distribution, c 11.652, k 0.221, scale 107.083 MB (Wild, figure 8), cut at 1.5 GB
  (the limit of that service).
- Cold starts: log-normal with mean 3.24 s and deviation 7.10 s (Huawei), cut at two minutes.
- Starts from snapshots: what rekindle measured (costs.py); a restore from disk reads all memory.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rekindle.bench.tune.costs import levels
from rekindle.bench.tune.trace import Arrivals, TracedFunction, in_memory
from rekindle.wire.pools import Figures, Level

_DAY_S = 86400.0
_MB = 1_000_000
_TRIGGERS = ("http", "timer", "queue", "orchestration", "event", "others")
_SHARES = (55, 16, 15, 7, 2, 5)
_BURSTY = ("queue", "event", "orchestration")
#: Minutes between two fires of a timer.
_PERIODS = (1, 5, 10, 15, 30, 60, 240, 1440)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A workload to generate; the same seed gives the same trace."""

    functions: int = 200
    duration_s: float = _DAY_S
    seed: int = 1
    rate_mean: float = 1.60  # of log10 of inputs a day
    rate_deviation: float = 1.77
    most_per_s: float = 1.0
    day_share: float = 0.5
    burst_size: float = 8.0
    burst_gap_s: float = 0.5


def generate(workload: Workload) -> Arrivals:
    """The trace."""
    functions: list[TracedFunction] = []
    arrivals: list[tuple[float, int, float]] = []
    for index in range(workload.functions):
        # One generator a function: more functions do not change those that there were.
        rng = random.Random(f"{workload.seed}/{index}")
        trigger = rng.choices(_TRIGGERS, _SHARES)[0]
        functions.append(_function(index, trigger, rng))
        mean_s = min(math.exp(rng.gauss(-0.38, 2.36)), 300.0)
        per_day = 10 ** rng.gauss(workload.rate_mean, workload.rate_deviation)
        per_s = min(per_day / _DAY_S, workload.most_per_s)
        for when in _times(trigger, per_s, workload, rng):
            service_s = min(mean_s * rng.lognormvariate(-0.125, 0.5), 300.0)
            arrivals.append((when, index, service_s))
    return in_memory(functions, arrivals, duration_s=workload.duration_s)


def without_snapshots(trace: Arrivals) -> Arrivals:
    """The same arrivals on a platform that has warm and cold alone."""
    return replace(trace, functions=[_plain(function) for function in trace.functions])


def _plain(function: TracedFunction) -> TracedFunction:
    held = function.levels
    cold_s = held[Level.NONE].start_s
    plain = {
        Level.WARM: Figures(start_s=0.0, memory_bytes=held[Level.CACHED].memory_bytes),
        Level.NONE: Figures(start_s=cold_s, cpu_s=cold_s),
    }
    return replace(function, levels=plain)


def _function(index: int, trigger: str, rng: random.Random) -> TracedFunction:
    memory = _burr(rng, c=11.652, k=0.221, scale=107.083)
    memory_bytes = int(min(max(memory, 20.0), 1536.0) * _MB)
    deviation = math.sqrt(math.log(1 + (7.10 / 3.24) ** 2))
    cold_s = rng.lognormvariate(math.log(3.24) - deviation**2 / 2, deviation)
    return TracedFunction(
        label=f"{trigger}-{index}",
        levels=levels(
            snapshot_bytes=memory_bytes,
            working_set_bytes=memory_bytes,
            cold_s=min(max(cold_s, 0.3), 120.0),
            runner_bytes=min(44 * _MB, memory_bytes),
        ),
    )


def _burr(rng: random.Random, *, c: float, k: float, scale: float) -> float:
    """Burr XII by inversion: F(x) = 1 - (1 + (x / scale)^c)^-k."""
    return float(scale * ((1 - rng.random()) ** (-1 / k) - 1) ** (1 / c))


def _times(trigger: str, per_s: float, workload: Workload, rng: random.Random) -> Iterator[float]:
    if trigger == "timer":
        return _timer(per_s, workload, rng)
    if trigger in _BURSTY:
        return _bursts(per_s, workload, rng)
    return _poisson(per_s, workload, rng)


def _timer(per_s: float, workload: Workload, rng: random.Random) -> Iterator[float]:
    """At the period of a crontab that is nearest to the rate."""
    wished = 1 / per_s / 60
    period_s = 60.0 * min(_PERIODS, key=lambda minutes: abs(math.log(minutes / wished)))
    when = rng.uniform(0, period_s)
    while when < workload.duration_s:
        yield when + rng.uniform(0, 0.1)
        when += period_s


def _poisson(per_s: float, workload: Workload, rng: random.Random) -> Iterator[float]:
    """By thinning: the rate follows the day, and is never less than the constant half."""
    highest = per_s * (1 + workload.day_share)
    when = rng.expovariate(highest)
    while when < workload.duration_s:
        wave = workload.day_share * math.sin(2 * math.pi * when / _DAY_S)
        if rng.random() * highest <= per_s * (1 + wave):
            yield when
        when += rng.expovariate(highest)


def _bursts(per_s: float, workload: Workload, rng: random.Random) -> Iterator[float]:
    size = workload.burst_size
    for begins in _poisson(per_s / size, workload, rng):
        when = begins
        # Geometric, at least one.
        while when < workload.duration_s:
            yield when
            if rng.random() < 1 / size:
                break
            when += rng.expovariate(1 / workload.burst_gap_s)
