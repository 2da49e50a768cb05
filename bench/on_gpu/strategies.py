"""From ``.remote()`` to the first result, by strategy and phase: cold, restored, forked, warm."""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

from on_gpu import sharing
from on_gpu.report import Options, Report
from rekindle.exception import Error
from rekindle.gpu_restore import cuda
from rekindle.gpu_restore.inventory import inventory

#: Cold ones take longest and vary least.
_TIMES = {"cold": 2, "restore": 5, "fork": 5, "warm": 10}


def gigabyte(report: Report, options: Options) -> None:
    """1 GB."""
    _measure(report, options, 1000)


def held(report: Report, options: Options) -> None:
    """1 GB whose weights stay on the device."""
    with sharing.holder(options) as path:
        os.environ["REKINDLE_GPU_HOLDER"] = path
        _measure(report, options, 1000, strategies=("restore", "fork"))


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
    if not options.stand_in:
        try:
            cuda.load().init()
        except Error as error:
            report.missing("strategies", error)
            return
    has_torch = importlib.util.find_spec("torch") is not None
    if not has_torch:
        report.missing("strategies with a torch module", "no torch")
        if not megabytes or "REKINDLE_GPU_HOLDER" in os.environ:
            return
    if options.stand_in:
        os.environ["REKINDLE_BENCH_PLACE"] = "cpu"
    elif inventory().gpus:
        os.environ["REKINDLE_BENCH_ASKS"] = "any"
    if megabytes and (options.quick or options.stand_in):
        megabytes = 135
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
            _strategy(report, made, strategy, times, megabytes)
    if strategies == tuple(_TIMES):
        report.missing("spare with context", "spares cannot be asked for by name")
        report.missing("GPU snapshot", "starts do not use them yet; see the other sections")


def _strategy(report: Report, made: Any, strategy: str, times: int, megabytes: int) -> None:
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
        report.missing(strategy, f"{type(error).__name__}: {error}")
        if not found:
            return
    phases = sorted({name for one in found for name in one.phases})
    report.median(
        strategy,
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
