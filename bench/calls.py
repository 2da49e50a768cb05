"""Calls of rekindle compared with Ray, ProcessPoolExecutor, and Celery with Redis.

    .venv/bin/python bench/calls.py [--quick] [--json FILE] [--check] [--results DIR]
    .venv/bin/python bench/calls.py --profile [--quick]

Warm calls, fan-out, slots, large arguments and results, a fresh process for every input, memory:
all systems in one run, in rounds, each system started, measured and ended in its turn. The others
live in .venv-peers, which is made on first use (pip, about 2 GB). With --check it ends with 1 where
a promise of SPECIFICATION.md is not kept. With --profile nothing is compared: it shows where the
time of rekindle's warm call and of its fan-out goes.
"""

from __future__ import annotations

import signal
import sys

from lab import script
from lab.steps import steps
from peers import environment, plan, profile, report
from peers.versus import Versus
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json

#: What each peer's process logs.
LOGS = script.SCRATCH / "calls-logs"


def main() -> int:
    """Measure and show; 1 where --check finds a promise that is not kept."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what runs is ended on the way out
    options = script.options(
        "calls",
        __doc__.splitlines()[0],
        add=lambda parser: parser.add_argument(
            "--profile", action="store_true", help="compare nothing: where does our own time go?"
        ),
    )
    console = script.console()
    environment.make(console)
    if options.own.profile:
        with steps(console) as progress:
            found = profile.measure(options.quick, LOGS.absolute(), progress)
        console.print(profile.render(found))
        options.file("calls_profile.md").write_text(profile.markdown(found), encoding="utf-8")
        return 0

    versus = Versus(machine=machines.describe())
    with steps(console) as progress:
        plan.run(plan.roles(options.quick), list(plan.SYSTEMS), LOGS.absolute(), progress, versus)
    console.print(report.render(versus))
    write_json(options.json, {"quick": options.quick, **versus.to_dict()})
    options.file("calls.md").write_text(report.markdown(versus), encoding="utf-8")
    console.print(f"[dim]figures: {options.json} and {options.results}/calls.md[/]\n")
    promises = [
        script.Promise(target.number, target.text, target.kept) for target in report.targets(versus)
    ]
    return script.verdict(console, promises, check=options.check)


if __name__ == "__main__":
    script.run(main)
