"""examples/embed.py on a node that has just come up: the first embedding, and the second."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

from rekindle.bench.scaling import EmbedFigures
from rekindle.bench.steps import Steps
from rekindle.exception import StrategyUnavailableError
from rekindle.sdk import records
from rekindle.sdk.records import CallRecord
from rekindle.wire.phases import Phase, Strategy
from restoring.calls import forced, prepare
from restoring.instance import instance

MODES = ("auto", "copied")
TEXTS = ["a storm at sea"]
#: Restores on a node that has restored before.
AGAIN = 3


def measure(home: Path, runs: int, steps: Steps) -> list[EmbedFigures]:
    """Nodes of both modes, in turn."""
    embed = _example()
    steps.say("booting and freezing")
    with instance(home, "auto") as at, at.chosen(), embed.app.run():
        prepare(embed.Embedder().embed, Strategy.RESTORE)
    found = {
        mode: EmbedFigures(mode=mode, first_ms=[], first_execute_ms=[], second_ms=[], again_ms=[])
        for mode in MODES
    }
    for _ in range(runs):
        for mode, figures in found.items():
            _node(home, mode, embed, figures)
            steps.say(f"{mode}: first call {figures.first_ms[-1]:.0f} ms")
    return list(found.values())


def _node(home: Path, mode: str, embed: Any, figures: EmbedFigures) -> None:
    with instance(home, mode) as at, at.chosen(), embed.app.run():
        method = embed.Embedder().embed
        prepare(method, Strategy.RESTORE)
        at.settle()
        took, record = _plain_call(method, Strategy.RESTORE)
        figures.first_ms.append(took)
        figures.first_execute_ms.append(record.phases.get(Phase.EXECUTE.value, 0.0))
        took, _record = _plain_call(method, Strategy.WARM)
        figures.second_ms.append(took)
        again = forced(method, Strategy.RESTORE, TEXTS)
        for _ in range(AGAIN):
            at.settle()
            figures.again_ms.append(again().total_ms)


def _plain_call(method: Any, expected: Strategy) -> tuple[float, CallRecord]:
    """A call as any user makes it; raises where another strategy than the usual one served it."""
    with records.collect() as finished:
        began = time.perf_counter_ns()
        method.remote(TEXTS)
        took = (time.perf_counter_ns() - began) / 1e6
    record = finished[-1]
    if record.strategy != expected.value:
        notes = f" ({'; '.join(record.notes)})" if record.notes else ""
        raise StrategyUnavailableError(
            f"{expected.value} was expected, {record.strategy} served{notes}"
        )
    return took, record


def _example() -> Any:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
    return importlib.import_module("embed")
