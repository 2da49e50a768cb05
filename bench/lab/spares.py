"""How many spares cover what: the share of starts that find one, simulated.

Every input needs a runner of its own: none is kept. Spares come again as the agent has them come,
in a pause of starts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from lab.sheet import Sheet
from rekindle.bench.tune import costs
from rekindle.bench.tune.outcome import outcome
from rekindle.bench.tune.simulator import Simulation
from rekindle.bench.tune.trace import TracedFunction, in_memory
from rekindle.controller import policies
from rekindle.controller.policies.policy import PoolSettings, Prices

COUNTS = (1, 2, 3, 4, 8)
#: Starts a second at random times; and starts at once, every ten seconds.
RATES, BURSTS = (1.0, 10.0, 30.0), (2, 3, 4, 8)
_STARTS = 4000
_SERVICE_S = 1.0


def covered(spares: int, arrivals: list[float]) -> float:
    """The share of starts that find a spare."""
    function = TracedFunction(
        label="f", levels=costs.levels(), settings=PoolSettings(spare_containers=spares)
    )
    trace = in_memory([function], ((when, 0, _SERVICE_S) for when in arrivals))
    found = outcome(Simulation(trace, policies.make("fixed", keep_s=0.0)).run(), Prices())
    return found.spared / found.started


def patterns() -> Iterator[tuple[str, list[float]]]:
    """What comes, and when."""
    for rate in RATES:
        rng, now = random.Random(1), 0.0
        times = []
        for _ in range(_STARTS):
            now += rng.expovariate(rate)
            times.append(now)
        yield f"{rate:g} a second, at random", times
    for size in BURSTS:
        yield f"{size} at once", [10.0 * (i // size) for i in range(_STARTS)]


def sheet() -> Sheet:
    """One row a pattern."""
    return Sheet(
        "starts that find a spare, where every input needs a runner of its own",
        ["starts", *(f"{count} spare{'s' * (count > 1)}" for count in COUNTS)],
        [
            [name, *(f"{covered(count, times):.0%}" for count in COUNTS)]
            for name, times in patterns()
        ],
    )
