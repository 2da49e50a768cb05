"""From ``.remote()`` to the first result, by strategy and phase: cold, restored, forked, warm."""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

from on_gpu.report import Options, Report
from rekindle.exception import Error
from rekindle.gpu_restore import cuda
from rekindle.gpu_restore.inventory import inventory

#: Cold ones take longest and vary least.
_TIMES = {"cold": 2, "restore": 5, "fork": 5, "warm": 10}


def gigabyte(report: Report, options: Options) -> None:
    """1 GB."""
    _measure(report, options, 1000)


def eight(report: Report, options: Options) -> None:
    """8 GB."""
    _measure(report, options, 8000)


def embedding(report: Report, options: Options) -> None:
    """The network of examples/embed.py."""
    if importlib.util.find_spec("transformers") is None:
        report.missing("strategies", "no transformers")
        return
    _measure(report, options, 0)


def _measure(
    report: Report,
    options: Options,
    megabytes: int,
    strategies: Sequence[str] = tuple(_TIMES),
) -> None:
    if not ready(report, options, "strategies"):
        return
    has_torch = importlib.util.find_spec("torch") is not None
    if not has_torch:
        report.missing("strategies with a torch module", "no torch")
        if not megabytes:
            return
    megabytes = megabytes and size(options, megabytes)
    from on_gpu import program

    started = time.monotonic()
    with program.app.run():
        model: Any = program.Model if has_torch else program.Plain
        made: Any = model(megabytes=megabytes) if megabytes else program.Embedding()
        for strategy in strategies:
            if time.monotonic() - started > options.seconds * 0.9:
                report.missing(strategy, "no time left in this section")
                continue
            times = 2 if options.quick else _TIMES[strategy]
            measure(report, made, strategy, times, megabytes)


def ready(report: Report, options: Options, what: str) -> bool:
    """Whether there is a device; sets up what ``program.py`` reads."""
    if options.stand_in:
        os.environ["REKINDLE_BENCH_PLACE"] = "cpu"
        return True
    try:
        cuda.load().init()
    except Error as error:
        report.missing(what, error)
        return False
    if inventory().gpus:
        os.environ["REKINDLE_BENCH_ASKS"] = "any"
    return True


def size(options: Options, megabytes: int) -> int:
    """That many, or few where it is only to be tried."""
    return 135 if options.quick or options.stand_in else megabytes


def measure(
    report: Report, made: Any, strategy: str, times: int, megabytes: int, label: str = ""
) -> None:
    """Calls by one strategy: the median, by phase, how far the result is off, and the notes."""
    from rekindle.sdk.calls import records
    from rekindle.sdk.running import ask_strategy
    from rekindle.wire.phases import Strategy

    found, errors = [], []
    try:
        with ask_strategy(Strategy(strategy)):
            made.infer.prepare(Strategy(strategy))
            for _ in range(times):
                with records.collect() as collected:
                    errors.append(made.infer.remote())
                found.append(collected[-1])
    except Exception as error:  # noqa: BLE001 - what the function raised comes as it is
        report.missing(label or strategy, f"{type(error).__name__}: {error}")
        if not found:
            return
    phases = sorted({name for one in found for name in one.phases})
    report.median(
        label or strategy,
        [one.total_ms for one in found],
        "ms",
        megabytes=megabytes,
        taken=found[-1].strategy,
        phases_ms={
            name: round(statistics.median(one.phases.get(name, 0.0) for one in found), 2)
            for name in phases
        },
        error_of_result=max(errors),
        notes=list(found[-1].notes),
    )
