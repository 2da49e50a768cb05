"""Deploying: an unchanged and a changed app, calls meanwhile, schedules that are due at once.

.venv/bin/python bench/deploys.py [--quick] [--json FILE] [--check] [--results DIR]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

import rekindle
from lab import script
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.sdk.local import daemon

CALLS, QUICK_CALLS = 10_000, 1_000
DEPLOYS = 5
SCHEDULES, QUICK_SCHEDULES = 1_000, 100

CALLER = """
import sys
import rekindle

which = rekindle.Function.from_name("rolling", "which")
seen = {}
for number in range(int(sys.argv[1])):
    version = which.remote()
    seen[version] = seen.get(version, 0) + 1
    if number % 100 == 0:
        print(version, flush=True)
import json
print(json.dumps(seen), flush=True)
"""


def made(
    name: str, version: int, schedules: int = 0, due: rekindle.Cron | None = None
) -> rekindle.App:
    """An app whose code differs with the version."""
    app = rekindle.App(name)

    def which() -> int:
        return version

    app.function(serialized=True)(which)
    for number in range(schedules):
        app.function(name=f"due{number}", serialized=True, schedule=due)(which)
    return app


def deploy_ms(name: str, version: int) -> float:
    """How long one deployment takes here."""
    app = made(name, version)
    began = time.perf_counter()
    app.deploy()
    return 1000 * (time.perf_counter() - began)


def under_load(calls: int) -> tuple[int, int, float]:
    """Calls of two clients while the app is deployed again: how many, of how many versions."""
    deploy_ms("rolling", 1)
    command = [sys.executable, "-c", CALLER, str(calls // 2)]
    began = time.perf_counter()
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for version in range(2, DEPLOYS + 2):
        for client in clients:  # each is at work by now, and some calls further
            assert client.stdout is not None
            client.stdout.readline()
        deploy_ms("rolling", version)
    seen: dict[str, int] = {}
    for client in clients:
        out, _ = client.communicate()
        if client.returncode:
            raise SystemExit("a call failed while the app was deployed")
        for version_of, count in json.loads(out.splitlines()[-1]).items():
            seen[version_of] = seen.get(version_of, 0) + count
    return sum(seen.values()), len(seen), time.perf_counter() - began


def due_at_once(count: int) -> tuple[int, float]:
    """Schedules that are due in one second: how many ran, and how late the last was submitted."""
    due_at = (int(time.time()) // 60 + 1) * 60
    if due_at - time.time() < 15:
        due_at += 60
    minute = time.gmtime(due_at)
    cron = rekindle.Cron(f"{minute.tm_min} {minute.tm_hour} * * *")
    made("due", 1, count, cron).deploy()
    time.sleep(max(0.0, due_at - time.time()))
    command = [str(Path(sys.executable).with_name("rekindle")), "schedule", "ls", "due", "--json"]
    while True:
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        runs = [run for one in found for run in one["last"] if run["submitted"]]
        if len(runs) >= count:
            return len(runs), max(run["submitted"] - run["due"] for run in runs)
        time.sleep(0.5)


def main() -> int:
    """Measure and show."""
    options = script.options("deploys", __doc__.splitlines()[0])
    console = Console()
    with tempfile.TemporaryDirectory(prefix="rk-") as home:
        os.environ["REKINDLE_HOME"] = home
        from rekindle import paths

        daemon.start(paths.daemon_dir(), 60.0)
        try:
            deploy_ms("plain", 0)  # connects, and imports
            changed = median(deploy_ms("plain", version) for version in range(1, 9))
            unchanged = median(deploy_ms("plain", 8) for _ in range(8))
            calls, versions, took_s = under_load(QUICK_CALLS if options.quick else CALLS)
            ran, late_s = due_at_once(QUICK_SCHEDULES if options.quick else SCHEDULES)
        finally:
            daemon.stop_all()
    figures = {
        "unchanged_ms": round(unchanged, 1),
        "changed_ms": round(changed, 1),
        "calls": calls,
        "versions": versions,
        "calls_s": round(took_s, 2),
        "schedules": ran,
        "last_submitted_s": round(late_s, 3),
    }
    machine = machines.describe()
    shown = Table("what", "figure", title="deploying", title_justify="left")
    for name, value in figures.items():
        shown.add_row(name, f"{value:,}")
    console.print(shown)
    console.print(f"[dim]{machines.line(machine)}[/]")
    write_json(options.json, {"machine": machine, **figures})
    return script.verdict(console, [], check=options.check)


if __name__ == "__main__":
    script.run(main)
