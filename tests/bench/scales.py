"""Figures of starts against size to test with, made up."""

from __future__ import annotations

from rekindle.bench.records import Run, StrategyResult
from restoring import scaling
from restoring.scaling import (
    AtOnceFigures,
    ColdCacheFigures,
    EmbedFigures,
    Figures,
    SharedFigures,
    SizeFigures,
    SnapshotFigures,
)
from tests.bench.reports import MACHINE


def series(name: str, took_ms: float, runs: int = 3) -> StrategyResult:
    """``runs`` runs around ``took_ms``, which is their median; half of each is CRIU's."""
    return StrategyResult(
        strategy=name,
        runs=[
            Run(total_ms=total, phases={"queue": 0.0, "restore": total / 2, "reseed": total / 2})
            for total in (took_ms + number - runs // 2 for number in range(runs))
        ],
    )


def size(gigabytes: float, **changed: float) -> SizeFigures:
    """A size of which every promise is kept, unless ``changed`` says otherwise."""
    took = {
        scaling.RESTORE: 25.0,
        scaling.FLOOR: 20.0,
        scaling.SMALL: 22.0,
        scaling.COPIED: 500 * gigabytes,
        scaling.COLD: 4000 * gigabytes,
        scaling.FORK: 5.0,
        scaling.FLOOR_FORK: 4.0,
        scaling.SMALL_FORK: 4.5,
        scaling.WARM: 2.0,
        scaling.BARE_FORK: 1.5,
    }
    took |= {getattr(scaling, name): value for name, value in changed.items()}
    return SizeFigures(
        gigabytes=gigabytes,
        model_bytes=int(gigabytes * 1e9),
        results={name: series(name, value) for name, value in took.items()},
        snapshot=SnapshotFigures(
            boot_ms=900.0,
            dump_ms=400.0,
            map_ms=50.0,
            commit_ms=60.0,
            total_ms=600.0,
            page_bytes=int(gigabytes * 1e9),
            disk_bytes=int(gigabytes * 1e9),
            mapping_bytes=2_000_000,
            mapped=True,
            note="in place, 90 areas",
            before={"fork": [8.0]},
            during={"warm": [2.0, 4.0], "fork": [9.0]},
            after={"warm": [2.0]},
        ),
        forks={scaling.HUGE: [2.0], scaling.SMALL_PAGES: [60.0]},
    )


def figures() -> Figures:
    """All parts, every promise kept."""
    return Figures(
        machine=dict(MACHINE),
        sizes=[size(0.1), size(4.0)],
        shared=SharedFigures(
            model_bytes=2_000_000_000, alone_pss_bytes=2_100_000_000, pss_bytes=[300_000_000] * 8
        ),
        cold_cache=[
            ColdCacheFigures(
                model_bytes=2_000_000_000,
                touched_bytes=200_000_000,
                pattern="contiguous",
                warm_ms=[60.0],
                with_ms=[200.0, 210.0],
                without_ms=[900.0, 950.0],
                read_ms=[150.0],
                recorded_bytes=210_000_000,
            )
        ],
        embed=[
            EmbedFigures(
                mode="auto",
                first_ms=[70.0],
                first_execute_ms=[27.0],
                second_ms=[12.0],
                again_ms=[60.0],
            )
        ],
        at_once=[
            AtOnceFigures(
                what="0.1 GB",
                strategy="restore",
                at_once=50,
                took_ms=[500.0] * 50,
                cpu_ms=25.0,
            )
        ],
        limits={scaling.EXEC: [1.2], scaling.SLEEP: [8.0]},
    )
