"""The demo: a real model started cold, restored, forked and warm, phase by phase.

    .venv/bin/python bench/demo.py [--quick] [--json FILE] [--check] [--results DIR]

Calls examples/embed.py by each strategy, in turn, and stops where the four do not answer alike.
With --check it also stops where the speed that SPECIFICATION.md promises is not reached.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from lab import markdown, script
from rekindle.bench import harness, live, plot, table
from rekindle.bench import machine as machines
from rekindle.bench.records import Report, write_json
from rekindle.bench.target import FunctionTarget
from rekindle.wire.phases import Strategy

RUNS, QUICK_RUNS = 10, 2
QUERY = "a storm at sea"
#: Promised in SPECIFICATION.md: times faster than cold, medians of one run of this script.
RESTORE_AT_LEAST, FORK_AT_LEAST = 15.0, 30.0
EXPLAINED = 0.95
#: Embeddings of one text by two strategies may differ by no more than this in any component.
TOLERANCE = 1e-6


def main() -> int:
    """Measure, compare, show; 1 for answers that differ, failed runs, or a promise not kept."""
    options = script.options("demo", __doc__.splitlines()[0])
    console = script.console()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
    embed = importlib.import_module("embed")
    texts = [QUERY, embed.sentences()[0]]
    answers: dict[Strategy, list[Any]] = {strategy: [] for strategy in harness.STRATEGIES}

    console.print(
        "\n[bold]One model, four ways to start it[/]: sentence-transformers, all-MiniLM-L6-v2.\n"
        "[dim]The first call loads it for real and freezes it; that takes a while.[/]\n"
    )
    with embed.app.run():
        target = FunctionTarget(embed.Embedder().embed, (texts,))
        with live.bar(console) as progress:
            report = harness.measure(
                target,
                strategies=harness.STRATEGIES,
                runs=QUICK_RUNS if options.quick else RUNS,
                machine=machines.describe(),
                preparing=progress.preparing,
                progress=progress.step,
                on_value=lambda strategy, value: answers[strategy].append(value),
            )
        if not report.errors:
            embed.main(QUERY, 3)  # what the model is for

    console.print(table.render(report))
    write_json(options.json, report.to_dict())
    options.file("demo.md").write_text(markdown.of_report(report), encoding="utf-8")
    if any(result.runs for result in report.results):
        plot.save(report, options.file("demo.png"))
    console.print(f"\n[dim]figures: {options.json} and {options.results}/demo.{{md,png}}[/]\n")

    if report.errors:
        return 1
    difference = _largest_difference(answers)
    alike = script.Promise(
        "A1",
        f"all strategies answer alike (largest difference {difference:.1e})",
        difference <= TOLERANCE,
    )
    kept = script.verdict(console, [*_promises(report), alike], check=options.check)
    return kept if alike.kept else 1


def _largest_difference(answers: dict[Strategy, list[Any]]) -> float:
    """Over all runs of all strategies, component by component, to the first cold answer."""
    reference = answers[Strategy.COLD][0]
    return max(
        float(abs(value - reference).max()) for values in answers.values() for value in values
    )


def _promises(report: Report) -> list[script.Promise]:
    restore, fork = report.speedup("restore") or 0.0, report.speedup("fork") or 0.0
    runs = [run for result in report.results for run in result.runs]
    least = min((run.explained for run in runs), default=0.0)
    most = max((run.explained for run in runs), default=0.0)
    return [
        script.Promise(
            "S1",
            f"a restore is at least {RESTORE_AT_LEAST:.0f} times faster than cold ({restore:.1f})",
            restore >= RESTORE_AT_LEAST,
        ),
        script.Promise(
            "S2",
            f"a fork is at least {FORK_AT_LEAST:.0f} times faster than cold ({fork:.1f})",
            fork >= FORK_AT_LEAST,
        ),
        script.Promise(
            "S4",
            f"phases explain every call to within 5 % ({least:.1%} to {most:.1%})",
            least >= EXPLAINED and most <= 2 - EXPLAINED,
        ),
    ]


if __name__ == "__main__":
    script.run(main)
