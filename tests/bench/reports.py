"""Reports to test with: figures of the usual proportions, made up."""

from __future__ import annotations

from rekindle.bench.records import Report, Run, StrategyResult

MACHINE = {
    "cpu": "Some CPU",
    "cores": 2,
    "memory_bytes": 24 * 2**30,
    "kernel": "6.18.1",
    "python": "3.11.7",
    "criu": "4.1.1",
}

PHASES: dict[str, dict[str, float]] = {
    "cold": {"queue": 1, "isolate": 3, "import": 4000, "enter": 900, "execute": 60},
    "restore": {"queue": 1, "isolate": 4, "restore": 160, "reseed": 2, "execute": 35},
    "fork": {"queue": 1, "isolate": 4, "fork": 12, "reseed": 2, "execute": 35},
    "warm": {"queue": 1, "load_input": 0.7, "execute": 25, "store_result": 1},
}


def result(strategy: str, runs: int = 4) -> StrategyResult:
    """``runs`` runs, each a little slower than the one before it."""
    return StrategyResult(
        strategy=strategy,
        runs=[
            Run(
                total_ms=sum(PHASES[strategy].values()) * (1 + 0.1 * i),
                phases={name: ms * (1 + 0.1 * i) for name, ms in PHASES[strategy].items()},
                pss_bytes=300 * 2**20,
                runner_id=f"ru-{strategy}{i}",
            )
            for i in range(runs)
        ],
    )


def report(*strategies: str, runs: int = 4) -> Report:
    """A report of ``strategies``, all four by default."""
    chosen = strategies or tuple(PHASES)
    return Report(
        function="Embedder.embed",
        machine=dict(MACHINE),
        results=[result(strategy, runs) for strategy in chosen],
    )
