"""Packing policies over a simulated day of jobs that ask for GPUs: whole ones, groups, shares.

.venv/bin/python bench/gpu_packing.py [--quick] [--json FILE] [--check] [--results DIR]

Six machines of eight GPUs of one size, with NVLink switches, a mesh of NVLinks, and PCIe alone; the
same code places the jobs that places runners. Nothing here was measured on a GPU: the times of the
jobs are drawn (bench/lab/gpu_day.py says from what), and what is compared is who waits for whom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from rich.table import Table

from lab import markdown, script
from lab.gpu_day import Day, Outcome, mean, quantile, simulate
from rekindle.bench.records import write_json
from rekindle.gpu_restore.placement.line import PATIENCE_S
from rekindle.gpu_restore.placement.packing import policies

SEEDS = (1, 2, 3, 4)
#: Promised in SPECIFICATION.md.
MOST_WAITING = 0.5

_COLUMNS: tuple[tuple[str, Callable[[Outcome], float], str], ...] = (
    ("a job waits, mean s", lambda one: mean(one.waits()), "{:.1f}"),
    ("p95 s", lambda one: quantile(one.waits(), 0.95), "{:.0f}"),
    ("one that asks for a share, mean s", lambda one: mean(one.waits(0, 0)), "{:.1f}"),
    ("one that asks for 4 or 8 GPUs, mean s", lambda one: mean(one.waits(4)), "{:.0f}"),
    ("the longest wait, s", lambda one: one.waits()[-1], "{:.0f}"),
    ("GPUs held", lambda one: one.share(one.held_gpu_s), "{:.1%}"),
    ("GPUs free while jobs wait", lambda one: one.share(one.idle_gpu_s), "{:.1%}"),
    (
        "free memory of GPUs that are shared, as GPUs",
        lambda one: one.share(one.partial_gpu_s),
        "{:.1%}",
    ),
    ("groups that are joined by NVLink alone", lambda one: one.near, "{:.0%}"),
    ("preemptions", lambda one: one.preemptions, "{:.0f}"),
    ("GPU-hours lost by them, a day", lambda one: one.lost_gpu_s / 3600, "{:.1f}"),
)


def figures(runs: Sequence[Outcome]) -> dict[str, float]:
    """Of one policy: means over the seeds."""
    return {title: mean([value(run) for run in runs]) for title, value, _ in _COLUMNS}


def main() -> int:
    """Replay and show; 1 for a promise not kept."""
    options = script.options("gpu_packing", __doc__.splitlines()[0])
    console = script.console()
    seeds = SEEDS[:1] if options.quick else SEEDS
    day = Day(hours=8.0) if options.quick else Day()
    names = [policy.name for policy in policies()]
    runs: dict[str, list[Outcome]] = {name: [] for name in names}
    with console.status("") as status:
        for seed in seeds:
            for policy in policies():
                status.update(f"seed {seed}: {policy.name}")
                one = Day(**{**asdict(day), "seed": seed})
                runs[policy.name].append(simulate(one, policy, PATIENCE_S))
    found = {name: figures(some) for name, some in runs.items()}
    jobs = sum(len(run.jobs) for run in runs[names[0]])
    title = f"{jobs:,} jobs in {len(seeds)} days of {day.hours:g} h on 48 GPUs, load {day.load:.0%}"
    rows = [
        ["means over the days", *names],
        *(
            [heading, *(form.format(found[name][heading]) for name in names)]
            for heading, _, form in _COLUMNS
        ),
    ]
    table = Table(title=title)
    for i, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if i else "left")
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)
    sheet = "\n".join(markdown.table(rows))
    options.file("gpu_packing.md").write_text(f"**{title}**\n\n{sheet}\n", encoding="utf-8")
    write_json(options.json, {"day": asdict(day), "seeds": list(seeds), "policies": found})
    large = "one that asks for 4 or 8 GPUs, mean s"
    ratio = found["best-fit"][large] / found["worst-fit"][large]
    promises = [
        script.Promise(
            "G6",
            f"jobs with four or eight GPUs wait {ratio:.2f} times as long with best-fit as with "
            "worst-fit",
            ratio <= MOST_WAITING,
        )
    ]
    return script.verdict(console, promises, check=options.check)


if __name__ == "__main__":
    script.run(main)
