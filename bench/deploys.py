"""Deploying: unchanged and changed apps, on a full node, calls meanwhile, schedules due at once.

.venv/bin/python bench/deploys.py [--only deploys|full|load|schedules] [--quick] [--json FILE]
    [--check]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil
from rich.table import Table

import rekindle
from lab import script
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.runtime.agent import settings
from rekindle.sdk.local import daemon, directory

CALLS, QUICK_CALLS = 10_000, 1_000
DEPLOYS = 5
#: A version that a call from inside it opened again stays for a minute.
LEFT_S = 90.0
SCHEDULES, QUICK_SCHEDULES = 1_000, 100
#: A minute that begins sooner is too soon to be the one in which they are due.
DEPLOYING_S = 15.0
#: So long after their time they may begin.
RUN_S = 120.0

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


def made(name: str, version: int) -> rekindle.App:
    """An app whose code differs with the version."""
    app = rekindle.App(name)

    def which() -> int:
        return version

    app.function(serialized=True)(which)
    return app


def made_due(schedules: int, due: rekindle.Cron, begun: str) -> rekindle.App:
    """An app of functions that are due at the same time, and note when they began in a file."""
    app = rekindle.App("due")

    def note() -> None:
        now = time.time()
        fd = os.open(begun, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, b"%f\n" % now)
        os.close(fd)

    for number in range(schedules):
        app.function(name=f"due{number}", serialized=True, schedule=due)(note)
    return app


def deploy_ms(name: str, version: int) -> float:
    """How long one deployment takes here."""
    app = made(name, version)
    began = time.perf_counter()
    app.deploy()
    return 1000 * (time.perf_counter() - began)


def full_node_ms(gate: Path, runners: int) -> float:
    """How long a deployment takes where inputs have all places of the node."""
    holds = rekindle.App("holds")

    @holds.function(serialized=True)
    def hold() -> None:
        with open(gate, "rb"):
            pass

    os.mkfifo(gate)
    deploy_ms("full", 0)
    holds.deploy()
    calls = [hold.spawn() for _ in range(runners)]
    while hold.get_current_stats().num_total_runners < runners:
        time.sleep(0.1)
    took_ms = median(deploy_ms("full", version) for version in range(1, 6))
    with open(gate, "wb"):  # for all of them
        for call in calls:
            call.get()
    holds.stop()
    return took_ms


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


def due_at_once(count: int, begun: Path) -> dict[str, float]:
    """Schedules that are due in one second: how many ran, how late they were, what it took."""
    due_at = (int(time.time()) // 60 + 1) * 60
    if due_at - time.time() < DEPLOYING_S:
        due_at += 60
    minute = time.gmtime(due_at)
    cron = rekindle.Cron(f"{minute.tm_min} {minute.tm_hour} * * *")
    made_due(count, cron, str(begun)).deploy()
    time.sleep(max(0.0, due_at - 1 - time.time()))
    before = processor_s()
    deadline = due_at + RUN_S
    while (late := began_late(begun, due_at)) is None or len(late) < count:
        if time.time() > deadline:
            raise SystemExit(f"{len(late or ())} of {count} schedules had begun after {RUN_S:g} s")
        time.sleep(0.1)
    spent = {name: taken - before.get(name, 0.0) for name, taken in processor_s().items()}
    command = [str(Path(sys.executable).with_name("rekindle")), "schedule", "ls", "due", "--json"]
    while True:
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        runs = [run for one in found for run in one["last"]]
        if all(run["state"] == "done" for run in runs) or time.time() > deadline:
            break
        time.sleep(0.5)
    late.sort()
    return {
        "schedules": sum(1 for run in runs if run["state"] == "done"),
        "begun": len(began_late(begun, due_at) or ()),
        "submitted_last_s": round(max(run["submitted"] - run["due"] for run in runs), 2),
        "begun_half_s": round(median(late), 2),
        "begun_last_s": round(late[-1], 2),
        **{f"processor_{name}_s": round(taken, 2) for name, taken in spent.items()},
    }


def began_late(begun: Path, due_at: float) -> list[float] | None:
    """How long after their time those began that have begun; None: none has."""
    if not begun.exists():
        return None
    return [float(line) - due_at for line in begun.read_text().split()]


def processor_s() -> dict[str, float]:
    """The processor time that the instance's processes have used, by what they are.

    What runs functions is counted once it was waited for, with the process above it.
    """
    from rekindle import paths

    supervisor = psutil.Process(directory.supervisor_pid(paths.daemon_dir()) or 0)
    taken = dict.fromkeys(("redis", "controller", "agent", "starts"), 0.0)
    for process in supervisor.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words, times = " ".join(process.cmdline()[:5]), process.cpu_times()
            kind = "starts"
            if "redis" in words:
                kind = "redis"
            elif "rekindle.controller" in words:
                kind = "controller"
            elif "rekindle.runtime.agent" in words:
                kind = "agent"
            taken[kind] += times.user + times.system
            taken["starts"] += times.children_user + times.children_system
    return taken


def main() -> int:
    """Measure and show."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--only", choices=("deploys", "full", "load", "schedules"), help="one part"
        )

    options = script.options("deploys", __doc__.splitlines()[0], add=add)
    console = script.console()

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
            if wanted("full"):
                full = full_node_ms(Path(home) / "gate", settings.default_max_runners())
                figures["changed_on_full_node_ms"] = round(full, 1)
            if wanted("load"):
                figures["wanted_calls"] = QUICK_CALLS if options.quick else CALLS
                calls, versions, took_s = under_load(int(figures["wanted_calls"]))
                figures |= {"calls": calls, "versions": versions, "calls_s": round(took_s, 2)}
                figures["left_of_former_versions"] = left_over("rolling")
            if wanted("schedules"):
                figures["wanted_schedules"] = QUICK_SCHEDULES if options.quick else SCHEDULES
                figures |= due_at_once(int(figures["wanted_schedules"]), Path(home) / "begun")
        finally:
            daemon.stop_all()
        machine = machines.describe()  # keeps what it finds of CRIU in the home
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
    ran, begun = figures.get("schedules"), figures.get("begun")
    due = figures.get("wanted_schedules")
    return [
        script.Promise(
            "Y2",
            f"{calls} of {wanted} calls answered by some version, {left} left of former ones",
            None if calls is None else (calls, left) == (wanted, 0),
        ),
        script.Promise(
            "Y4",
            f"{ran} of {due} schedules ran, {begun} times in all",
            None if ran is None else ran == begun == due,
        ),
    ]


if __name__ == "__main__":
    script.run(main)
