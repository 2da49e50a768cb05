"""Starts with less to do: GPU snapshots, weights that stay, spares that have their context."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from on_gpu import strategies, torch_here
from on_gpu.report import Options, Report
from rekindle.exception import Error
from rekindle.sdk.calls.call_record import CallRecord
from rekindle.sdk.running import ask_strategy
from rekindle.wire.phases import Phase, Strategy

#: Restores in a row that must all succeed before GPU snapshots could be on by default.
IN_A_ROW = 50
#: For a spare to be forked, and to have its context.
SETTLES_S = 3.0


def snapshots(report: Report, options: Options) -> None:
    """From ``.remote()`` to the result with a GPU snapshot of 1 GB, then some in a row."""
    _snapshots(report, options, 1000, 5, 10)


def in_a_row(report: Report, options: Options) -> None:
    """As many more of 1 GB in a row as there is time for; it is there already."""
    _snapshots(report, options, 1000, 0, IN_A_ROW)


def snapshots_8(report: Report, options: Options) -> None:
    """The same of 8 GB, a few times."""
    _snapshots(report, options, 8000, 3, 0)


def _snapshots(report: Report, options: Options, megabytes: int, timed: int, in_a_row: int) -> None:
    with _model(report, options, "snapshot", "GPU snapshot", megabytes) as made:
        if made is None:
            return
        model, size = made
        timed = options.count(timed)
        if timed:
            found = strategies.measure(
                *(report, options, model, "restore", timed, size, "GPU snapshot"),
                why_other=_why_no_gpu_snapshot,
            )
            if len(found) < timed:
                return
        if in_a_row:
            _in_a_row(report, options, model, options.count(in_a_row))


def _in_a_row(report: Report, options: Options, model: Any, times: int) -> None:
    """Until one fails; how many it were so far is written now and then."""
    done, failed, longest = 0, "", 0.0
    what = "starts from a GPU snapshot in a row"
    with ask_strategy(Strategy.RESTORE):
        try:
            model.infer.prepare(Strategy.RESTORE)
        except Error as error:
            report.missing(what, error)
            return
        while done < times and (not done or options.has_time_for(longest)):
            began = time.monotonic()
            if failed := _why_not_restored(model):
                break
            longest = max(longest, time.monotonic() - began)
            done += 1
            if done % 10 == 0 and done < times:
                report.row(f"{what}, so far", done, f"of {times}")
    report.row(what, done, f"of {times}", failed=failed)


def _why_not_restored(model: Any) -> str:
    """Why one more start is none from the GPU snapshot, with the right result; "" where it is."""
    try:
        record, error = strategies.one_call(model)
    except Exception as raised:  # noqa: BLE001 - what the function raised comes as it is
        return f"{type(raised).__name__}: {raised}"
    if not error <= strategies.TOLERANCE:
        return f"the result is off by {error}"
    return _why_no_gpu_snapshot(record)


def _why_no_gpu_snapshot(record: CallRecord) -> str:
    if Phase.GPU_RESTORE.value in record.phases:
        return ""
    return f"the start was no restore of a GPU snapshot: {'; '.join(record.notes)}"


def held(report: Report, options: Options) -> None:
    """1 GB whose weights stay on the device, by a holder that the agent looks after."""
    with _model(report, options, "held", "weights held", 1000) as made:
        if made is None:
            return
        model, size = made
        label = "restore, brings the weights that stay"
        first = strategies.measure(
            *(report, options, model, "restore", 1, size, label), why_other=_why_not_shared
        )
        for strategy in ("restore", "fork") if first else ():
            strategies.measure(
                *(report, options, model, strategy, 3, size, f"{strategy}, weights held"),
                why_other=_why_not_held,
            )


def _why_not_shared(record: CallRecord) -> str:
    return next((note for note in record.notes if "not shared with other" in note), "")


def _why_not_held(record: CallRecord) -> str:
    if any("held on the GPU" in note for note in record.notes):
        return ""
    return f"the start found no weights that were held: {'; '.join(record.notes)}"


def contexts(report: Report, options: Options) -> None:
    """A spare that has its context: what is left are the weights."""
    with _model(report, options, "spare", "spare with context", 1000) as made:
        if made is None:
            return
        model, size = made
        had: list[CallRecord] = []
        why = ""
        for number in range(options.count(3)):
            if number and not options.has_time_for(2 * SETTLES_S):
                break
            try:
                model.infer.prepare(Strategy.SPARE)
                time.sleep(SETTLES_S)  # its context is made in the background
                with ask_strategy(Strategy.SPARE):
                    record, _error = strategies.one_call(model)
            except Exception as error:  # noqa: BLE001 - what the function raised comes as it is
                why = f"{type(error).__name__}: {error}"
                break
            if Phase.GPU_CONTEXT.value in record.phases:
                why = f"no spare had one in time: {'; '.join(record.notes)}"
                continue
            had.append(record)
            report.row(f"spare with context, start {len(had)}", record.total_ms, "ms")
        if why:
            report.missing("spare with context, each time" if had else "spare with context", why)
        if had:
            times = [one.total_ms for one in had]
            report.median("spare with context", times, "ms", megabytes=size, phases=had[-1].phases)


@contextmanager
def _model(
    report: Report, options: Options, way: str, what: str, megabytes: int
) -> Iterator[tuple[Any, int] | None]:
    """A running app's model that starts this way; None, and why, where there is none."""
    no_torch = torch_here.why_not(options)
    if not strategies.ready(report, options, what):
        yield None
        return
    if "REKINDLE_BENCH_ASKS" not in os.environ or (way == "held" and no_torch):
        report.missing(what, no_torch if way == "held" and no_torch else "no GPU by NVML")
        yield None
        return
    os.environ["REKINDLE_BENCH_WAY"] = way
    from on_gpu import program

    size = strategies.size(options, megabytes)
    model: Any = program.Plain if no_torch else program.Model
    with program.app.run():
        yield model(megabytes=size), size
