"""examples/embed.py on a node that has just come up: the first embedding, and the second."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from lab.steps import Steps
from rekindle.wire.phases import Phase, Strategy
from restoring.calls import forced, plain, prepare
from restoring.instance import instance
from restoring.scaling import EmbedFigures

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
        took, _value, record = plain(method, Strategy.RESTORE, TEXTS)
        figures.first_ms.append(took)
        figures.first_execute_ms.append(record.phases.get(Phase.EXECUTE.value, 0.0))
        took, _value, _record = plain(method, Strategy.WARM, TEXTS)
        figures.second_ms.append(took)
        again = forced(method, Strategy.RESTORE, TEXTS)
        for _ in range(AGAIN):
            at.settle()
            figures.again_ms.append(again().total_ms)


def _example() -> Any:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
    return importlib.import_module("embed")
