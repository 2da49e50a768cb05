"""Deploying: an unchanged and a changed app, calls meanwhile, schedules that are due at once.

.venv/bin/python bench/deploys.py [--only deploys|load|schedules] [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import argparse
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
#: A version that a call from inside it opened again stays for a minute.
LEFT_S = 90.0
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


def left_over(name: str) -> int:
    """Former versions, and runners and templates of theirs, that do not go; 0 in good order."""
    rekindle_ = str(Path(sys.executable).with_name("rekindle"))
    deadline = time.monotonic() + LEFT_S
    while True:
        status = json.loads(
            subprocess.run([rekindle_, "status", "--json"], capture_output=True, check=True).stdout
        )
        known = [one for one in status["apps"] if one["name"] == name]
        ids = {one["app_id"] for one in known if one.get("draining")}
        ours = {function["function_id"] for one in known for function in one["functions"]}
        held = [
            one
            for agent in status["agents"]
            for one in agent["stats"]["runners"]
            if one["function"].split("[")[0] == "which" and one["function_id"] not in ours
        ]
        left = len(ids) + len(held)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


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

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--only", choices=("deploys", "load", "schedules"), help="one part")

    options = script.options("deploys", __doc__.splitlines()[0], add=add)
    console = Console()

    def wanted(part: str) -> bool:
        return options.own.only in (None, part)

    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="rk-") as home:
        os.environ["REKINDLE_HOME"] = home
        from rekindle import paths

        daemon.start(paths.daemon_dir(), 60.0)
        try:
            deploy_ms("plain", 0)  # connects, and imports
            if wanted("deploys"):
                changed = median(deploy_ms("plain", version) for version in range(1, 9))
                figures["changed_ms"] = round(changed, 1)
                figures["unchanged_ms"] = round(median(deploy_ms("plain", 8) for _ in range(8)), 1)
            if wanted("load"):
                figures["wanted_calls"] = QUICK_CALLS if options.quick else CALLS
                calls, versions, took_s = under_load(int(figures["wanted_calls"]))
                figures |= {"calls": calls, "versions": versions, "calls_s": round(took_s, 2)}
                figures["left_of_former_versions"] = left_over("rolling")
            if wanted("schedules"):
                figures["wanted_schedules"] = QUICK_SCHEDULES if options.quick else SCHEDULES
                ran, late_s = due_at_once(int(figures["wanted_schedules"]))
                figures |= {"schedules": ran, "last_submitted_s": round(late_s, 3)}
        finally:
            daemon.stop_all()
    machine = machines.describe()
    shown = Table("what", "figure", title="deploying", title_justify="left")
    for name, value in figures.items():
        shown.add_row(name, f"{value:,}")
    console.print(shown)
    console.print(f"[dim]{machines.line(machine)}[/]")
    write_json(options.json, {"machine": machine, **figures})
    return script.verdict(console, promises(figures), check=options.check)


def promises(figures: dict[str, float]) -> list[script.Promise]:
    """What SPECIFICATION.md promises of it."""
    rolled = ("calls", "wanted_calls", "left_of_former_versions")
    calls, wanted, left = (figures.get(name) for name in rolled)
    ran, due = figures.get("schedules"), figures.get("wanted_schedules")
    return [
        script.Promise(
            "Y2",
            f"{calls} of {wanted} calls answered by some version, {left} left of former ones",
            None if calls is None else (calls, left) == (wanted, 0),
        ),
        script.Promise(
            "Y4", f"{ran} of {due} schedules ran once", None if ran is None else ran == due
        ),
    ]


if __name__ == "__main__":
    script.run(main)
