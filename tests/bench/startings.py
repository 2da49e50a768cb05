"""Figures of starts to test with, made up."""

from __future__ import annotations

from starting.bare import Took
from starting.figures import (
    BurstFigures,
    CpuFigures,
    Figures,
    FreshFigures,
    Rate,
    RowFigures,
    SpareFigures,
    Start,
    StartFigures,
)
from starting.promises import (
    BURST_TO_BARE,
    FORK_CPU_TO_BARE,
    IN_A_ROW,
    KINDS,
    RESTORE_CPU_TO_BARE,
)
from starting.shell import Samples, ShellTimes
from starting.strategies import FORK, RESTORE, SPARE
from tests.bench.reports import MACHINE

#: Of a start, in milliseconds; the bare fork takes 1, CRIU's command line 10.
TOOK_MS = {SPARE: 1.9, FORK: 4.5, RESTORE: 16.0}
#: Of its processor time; the bare fork takes 0.5.
CPU_MS = {
    SPARE: 0.95 * FORK_CPU_TO_BARE * 0.5,
    FORK: 0.95 * FORK_CPU_TO_BARE * 0.5,
    RESTORE: 0.95 * RESTORE_CPU_TO_BARE * 0.5,
}


def start(first_ms: float, second_ms: float = 0.11, later_ms: float = 0.1) -> Start:
    """One start, and the calls after it."""
    return Start(
        first_ms=first_ms,
        second_ms=second_ms,
        later_ms=[later_ms] * 3,
        rested_ms=[4 * later_ms] * 3,
        phases={"queue": 0.5, "fork": first_ms - 0.5},
    )


def burst(strategy: str, took_ms: float, at_once: int = 24, kind: str = KINDS[0]) -> BurstFigures:
    """Starts at once, all of which took as long."""
    return BurstFigures(
        kind=kind,
        strategy=strategy,
        at_once=at_once,
        took_ms=[took_ms] * at_once,
        bare_ms=[0.5 * at_once] * at_once,
        served={strategy: at_once},
    )


def figures() -> Figures:
    """All parts, every promise kept."""
    return Figures(
        machine=dict(MACHINE),
        starts=[
            StartFigures(kind, strategy, [start(took) for _ in range(3)])
            for kind in KINDS
            for strategy, took in TOOK_MS.items()
        ],
        bare=[Took(1.0, 0.5)] * 3,
        sleep_ms=[10.0] * 3,
        cpu=[
            CpuFigures(
                kind=kind,
                strategy=strategy,
                starts=24,
                instance_ms=took - 0.3,
                daemons_ms={"agent": 0.5},
                client_ms=0.3,
                holding_ms=0.2,
                bare_ms=[0.5, 0.5],
                counted="cgroup v2",
            )
            for kind in KINDS
            for strategy, took in CPU_MS.items()
        ],
        bursts=[burst(FORK, 0.96 * BURST_TO_BARE), burst(SPARE, 12.0), burst(RESTORE, 200.0)],
        fresh=FreshFigures(
            cores=2,
            seconds=20.0,
            ours=Rate("map", 300.0, 6000),
            pool=Rate("ProcessPoolExecutor, max_workers=2", 75.0, 1500),
            tried=[Rate("remote, 2 threads", 250.0, 600, served=("spare",))],
            floor_per_s=[3000.0, 2900.0],
        ),
        spares=[SpareFigures(kind=KINDS[1], pss_bytes=[9 << 20] * 4, added_bytes=2.5 * 2**20)],
        endurance=[
            RowFigures(strategy, count, 100.0, growth_bytes={"agent": 1 << 20})
            for strategy, count in IN_A_ROW.items()
        ],
        shell=ShellTimes(
            python=Samples([20.0], [18.0]),
            torch=Samples([1500.0], [1400.0]),
            first=Samples([900.0], [300.0]),
            second=Samples([95.0], [80.0]),
        ),
    )
