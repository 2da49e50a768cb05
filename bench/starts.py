"""Starts: from .remote() to the result where no runner is idle, beside what a bare fork takes.

    .venv/bin/python bench/starts.py [--quick] [--json FILE] [--check] [--results DIR]
    .venv/bin/python bench/starts.py --only endurance

By a spare, by fork and by restore, of a function without a model, with PyTorch and 84 MB, and with
4 GB: what a caller waits, the processor time of all processes, many at once, a fresh process for
every input, the memory of spares, thousands in a row, and `rekindle run` from the shell. Needs root
(as restores do), 24 GiB of memory, 10 GB of disk under /var/tmp, and PyTorch. With --check it ends
with 1 where a promise of SPECIFICATION.md is not kept.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import script
from lab.steps import Steps, steps
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.exception import Error
from restoring import probes
from restoring.instance import home
from starting import (
    bursts,
    endurance,
    fresh,
    processor_time,
    promises,
    sheets,
    shell,
    single,
    spare_memory,
)
from starting.bare import bare
from starting.figures import Figures
from starting.functions import LARGE, NO_MODEL, SMALL
from starting.places import places
from starting.strategies import SPARE
from starting.watch import HangsError, limit

#: Numbers of SPECIFICATION.md.
PROMISES = {
    "S14": promises.spares_are_short,
    "S24": promises.forks_are_short,
    "S25": promises.restores_are_short,
    "S15": promises.first_call_after_is_warm,
    "S16": promises.forks_are_cheap,
    "S26": promises.restores_are_cheap,
    "S17": promises.bursts_are_short,
    "S18": promises.fresh_processes_are_quick,
    "S19": promises.many_leave_nothing,
    "S20": promises.second_run_is_short,
}
PARTS = ("single", "cpu", "bursts", "fresh", "spares", "endurance", "shell")
#: No part takes as long.
_LIMIT_S = 1200.0


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured."""

    kinds: tuple[str, ...]
    rounds: int
    cpu_kinds: tuple[str, ...]
    cpu_starts: int
    burst_kinds: tuple[str, ...]
    #: Starts at once -> how often.
    bursts: dict[int, int]
    sustained_s: float
    in_a_row: dict[str, int]
    shell_rounds: int


WHOLE = Extent(
    kinds=(NO_MODEL, SMALL, LARGE),
    rounds=12,
    cpu_kinds=(NO_MODEL, SMALL, LARGE),
    cpu_starts=24,
    burst_kinds=(NO_MODEL, SMALL),
    bursts={8: 4, 24: 3, 100: 1},
    sustained_s=promises.SUSTAINED_S,
    in_a_row=promises.IN_A_ROW,
    shell_rounds=7,
)
QUICK = Extent(
    kinds=(NO_MODEL, SMALL),
    rounds=2,
    cpu_kinds=(NO_MODEL,),
    cpu_starts=8,
    burst_kinds=(NO_MODEL,),
    bursts={24: 1},
    sustained_s=3.0,
    in_a_row={strategy: count // 50 for strategy, count in promises.IN_A_ROW.items()},
    shell_rounds=2,
)


def main() -> int:
    """Measure and show; 1 for what failed, or with --check for a promise not kept."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what runs is ended on the way out
    options = script.options("starts", __doc__.splitlines()[0], add=_own_options)
    console = script.console()
    figures = Figures(machine=machines.describe())
    with steps(console) as progress:
        _measure(figures, QUICK if options.quick else WHOLE, options.own.only, progress)
    console.print(sheets.render(figures))
    write_json(options.json, {"quick": options.quick, **figures.to_dict()})
    options.file("starts.md").write_text(sheets.markdown(figures), encoding="utf-8")
    console.print(f"\n[dim]figures: {options.json} and {options.results}/starts.md[/]\n")

    checked = script.checked(PROMISES, figures)
    kept = script.verdict(console, checked, check=options.check)
    return 1 if figures.errors else kept


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        help="this part alone; may be given again",
    )


def _measure(figures: Figures, extent: Extent, only: list[str] | None, progress: Steps) -> None:
    chosen = only or list(PARTS)

    def part(name: str, title: str, work: Callable[[], None]) -> None:
        if name not in chosen:
            return
        progress.part(title)
        try:
            with limit(title, _LIMIT_S):
                work()
        except HangsError:
            raise  # what hangs would hold up whatever is measured next
        except (Error, subprocess.TimeoutExpired) as error:
            figures.undone.append(f"{title}: {type(error).__name__}: {error}")
            progress.report(title, None, str(error))

    def from_the_shell() -> None:
        figures.shell = shell.measure(
            extent.shell_rounds, progress=lambda number: progress.say(f"round {number + 1}")
        )

    try:
        if set(chosen) - {"shell"}:
            _in_instances(figures, extent, part, progress)
        part("shell", "rekindle run from the shell", from_the_shell)
    except HangsError as error:
        figures.undone.append(str(error))
        progress.report("hangs", None, str(error))


def _in_instances(
    figures: Figures,
    extent: Extent,
    part: Callable[[str, str, Callable[[], None]], None],
    progress: Steps,
) -> None:
    kinds = extent.kinds
    progress.part("Snapshots, and an instance for each strategy")
    with contextlib.ExitStack() as stack:
        home_dir: Path = stack.enter_context(home())
        with limit("snapshots and instances", _LIMIT_S):
            at = stack.enter_context(places(home_dir, kinds, progress))
        floor = stack.enter_context(bare())
        sleep = stack.enter_context(probes.criu_restores("CRIU restores sleep"))

        def measure_fresh() -> None:
            figures.fresh = fresh.measure(at[SPARE], extent.sustained_s, progress)

        part(
            "single",
            "One start at a time",
            lambda: single.measure(at, kinds, extent.rounds, floor, sleep, figures, progress),
        )
        part(
            "cpu",
            "Processor time",
            lambda: figures.cpu.extend(
                processor_time.measure(at, extent.cpu_kinds, extent.cpu_starts, floor, progress)
            ),
        )
        part(
            "bursts",
            "Starts at once",
            lambda: bursts.measure(at, extent.burst_kinds, extent.bursts, floor, figures, progress),
        )
        part("fresh", "A fresh process for every input", measure_fresh)
        part(
            "endurance",
            "Starts in a row",
            lambda: figures.endurance.extend(endurance.measure(at, extent.in_a_row, progress)),
        )
        part(
            "spares",
            "Memory of spares",
            lambda: figures.spares.extend(spare_memory.measure(at[SPARE], kinds[1:], progress)),
        )


if __name__ == "__main__":
    script.run(main)
