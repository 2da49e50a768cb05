"""From ``.remote()`` to the first result, by strategy and phase: cold, restored, forked, warm."""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from on_gpu import torch_here
from on_gpu.report import Options, Report
from rekindle.exception import Error
from rekindle.gpu_restore import cuda
from rekindle.gpu_restore.driver import RECORDING
from rekindle.gpu_restore.inventory import inventory
from rekindle.sdk.calls import records
from rekindle.sdk.calls.call_record import CallRecord
from rekindle.sdk.running import ask_strategy
from rekindle.wire.phases import Strategy

#: Cold ones take longest and vary least; those of 8 GB take long altogether.
_TIMES = {"cold": 2, "restore": 5, "fork": 5, "warm": 5}
_FEW_TIMES = {"cold": 1, "restore": 3, "fork": 3, "warm": 3}
#: Of a result of float32, relative to the largest of the CPU's.
TOLERANCE = 1e-3
#: A strategy is not begun with less.
LEAST_S = 5.0


def gigabyte(report: Report, options: Options) -> None:
    """1 GB."""
    _measure(report, options, 1000, _TIMES)


def eight(report: Report, options: Options) -> None:
    """8 GB."""
    _measure(report, options, 8000, _FEW_TIMES)


def embedding(report: Report, options: Options) -> None:
    """The network of examples/embed.py."""
    if importlib.util.find_spec("transformers") is None:
        report.missing("strategies", "no transformers")
        return
    _measure(report, options, 0, _FEW_TIMES)


def _measure(
    report: Report, options: Options, megabytes: int, strategies: Mapping[str, int]
) -> None:
    if not ready(report, options, "strategies"):
        return
    if no_torch := torch_here.why_not(options):
        report.missing("strategies with a torch module", no_torch)
        if not megabytes:
            return
    megabytes = megabytes and size(options, megabytes)
    from on_gpu import program

    with program.app.run():
        model: Any = program.Plain if no_torch else program.Model
        made: Any = model(megabytes=megabytes) if megabytes else program.Embedding()
        for strategy, times in strategies.items():
            if not options.has_time_for(LEAST_S):
                report.missing(strategy, "no time left in this section")
                continue
            measure(report, options, made, strategy, options.count(times), megabytes)


def ready(report: Report, options: Options, what: str) -> bool:
    """Whether there is a device; sets up what ``program.py`` reads."""
    if options.stand_in:
        os.environ["REKINDLE_BENCH_PLACE"] = "cpu"
    else:
        try:
            cuda.load().init()
        except Error as error:
            report.missing(what, error)
            return False
    # Of a machine that stands in for one, runners ask for GPUs that are recorded, if any are.
    if (not options.stand_in or RECORDING in os.environ) and inventory().gpus:
        os.environ["REKINDLE_BENCH_ASKS"] = "any"
    return True


def size(options: Options, megabytes: int) -> int:
    """That many, or few where it is only to be tried."""
    return 135 if options.quick or options.stand_in else megabytes


def measure(
    report: Report,
    options: Options,
    made: Any,
    strategy: str,
    times: int,
    megabytes: int,
    label: str = "",
    why_other: Callable[[CallRecord], str] = lambda _record: "",
) -> list[CallRecord]:
    """Calls by one strategy, as many of them as there is time for: each as it is known, then the
    median, by phase, how far the result is off, and the notes; their records.

    ``why_other``: why a start was none of those that the label means; "" where it was.
    """
    name = label or strategy
    found: list[CallRecord] = []
    worst = longest = 0.0
    try:
        with ask_strategy(Strategy(strategy)):
            began = time.monotonic()
            made.infer.prepare(Strategy(strategy))
            report.row(f"{name}, to prepare it", time.monotonic() - began, "s")
            while len(found) < times and (not found or options.has_time_for(longest)):
                began = time.monotonic()
                if found and strategy != "warm":  # the runner before has left the GPU then
                    made.infer.prepare(Strategy(strategy))
                record, error = one_call(made)
                longest = max(longest, time.monotonic() - began)
                if why := why_other(record):
                    report.missing(name, why)
                    return []
                found.append(record)
                worst = max(worst, error)
                if not error <= TOLERANCE:
                    report.says("wrong", f"{name}: the result is off by {error}")
                took = {key: round(value, 2) for key, value in record.phases.items()}
                one = f"{name}, start {len(found)}"
                report.row(one, record.total_ms, "ms", phases_ms=took, error_of_result=error)
    except Exception as error:  # noqa: BLE001 - what the function raised comes as it is
        report.missing(name, f"{type(error).__name__}: {error}")
    if found:
        phases = sorted({phase for one in found for phase in one.phases})
        report.median(
            name,
            [one.total_ms for one in found],
            "ms",
            megabytes=megabytes,
            taken=found[-1].strategy,
            phases_ms={
                phase: round(statistics.median(one.phases.get(phase, 0.0) for one in found), 2)
                for phase in phases
            },
            error_of_result=worst,
            notes=list(found[-1].notes),
        )
    return found


def one_call(made: Any) -> tuple[CallRecord, float]:
    """Its record, and how far the result is off. Raises what the function raises."""
    with records.collect() as collected:
        error = float(made.infer.remote())
    return collected[-1], error
