"""Starts with less to do: GPU snapshots, weights that stay, spares that have their context."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from on_gpu import strategies
from on_gpu.report import Options, Report
from rekindle.exception import Error
from rekindle.sdk.calls import records
from rekindle.sdk.running import ask_strategy
from rekindle.wire.phases import Phase, Strategy

#: Restores in a row that must all succeed before GPU snapshots could be on by default.
IN_A_ROW = 50
#: For a spare to be forked, and to have its context.
SETTLES_S = 4.0


def snapshots(report: Report, options: Options) -> None:
    """From ``.remote()`` to the result with a GPU snapshot of 1 GB, then many in a row."""
    _snapshots(report, options, 1000, IN_A_ROW)


def snapshots_8(report: Report, options: Options) -> None:
    """The same of 8 GB, a few times."""
    _snapshots(report, options, 8000, 5)


def _snapshots(report: Report, options: Options, megabytes: int, times: int) -> None:
    with _model(report, options, "snapshot", "GPU snapshot", megabytes) as made:
        if made is None:
            return
        model, size = made
        strategies.measure(report, model, "restore", 5, size, "GPU snapshot")
        done = 0
        for _ in range(2 if options.quick else times):
            if not _restored(model):
                break
            done += 1
        report.row("starts from a GPU snapshot in a row", done, f"of {times}")


def held(report: Report, options: Options) -> None:
    """1 GB whose weights stay on the device, by a holder that the agent looks after."""
    with _model(report, options, "held", "weights held", 1000) as made:
        if made is not None:
            for strategy in ("restore", "fork"):
                strategies.measure(
                    report, made[0], strategy, 5, made[1], f"{strategy}, weights held"
                )


def contexts(report: Report, options: Options) -> None:
    """A spare that has its context: what is left are the weights."""
    with _model(report, options, "spare", "spare with context", 1000) as made:
        if made is None:
            return
        model, size = made
        had = []
        for _ in range(2 if options.quick else 5):
            model.infer.prepare(Strategy.SPARE)
            time.sleep(SETTLES_S)  # its context is made in the background
            with ask_strategy(Strategy.SPARE), records.collect() as collected:
                model.infer.remote()
            if Phase.GPU_CONTEXT.value not in collected[-1].phases:
                had.append(collected[-1])
        if not had:
            report.missing("spare with context", "no spare had one in time")
            return
        times = [one.total_ms for one in had]
        report.median("spare with context", times, "ms", megabytes=size, phases=had[-1].phases)


@contextmanager
def _model(
    report: Report, options: Options, way: str, what: str, megabytes: int
) -> Iterator[tuple[Any, int] | None]:
    """A running app's model that starts this way; None, and why, where there is none."""
    has_torch = importlib.util.find_spec("torch") is not None
    if not strategies.ready(report, options, what):
        yield None
        return
    if "REKINDLE_BENCH_ASKS" not in os.environ or (way == "held" and not has_torch):
        report.missing(what, "no torch" if way == "held" and not has_torch else "no GPU by NVML")
        yield None
        return
    os.environ["REKINDLE_BENCH_WAY"] = way
    from on_gpu import program

    size = strategies.size(options, megabytes)
    model: Any = program.Model if has_torch else program.Plain
    with program.app.run():
        yield model(megabytes=size), size


def _restored(model: Any) -> bool:
    """Whether one more start comes from the GPU snapshot, with the right result."""
    try:
        with ask_strategy(Strategy.RESTORE), records.collect() as collected:
            wrong = model.infer.remote()
    except Error:
        return False
    return Phase.GPU_RESTORE.value in collected[-1].phases and wrong < 0.05
