"""Who is asked what: the rows, the roles in which systems are started, how often, in what order.

In each round every system is started, warmed, measured and ended in its turn; no two run at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.steps import Steps
from peers import memory
from peers.process import HangsError, MeasureError, Peer, started
from peers.versus import OURS, Row, Versus, shown

#: In the order in which they are shown; turned by one each round.
SYSTEMS = (OURS, "ray", "pool", "celery")
NAMES = {OURS: OURS, "ray": "Ray", "pool": "ProcessPoolExecutor", "celery": "Celery"}


@dataclass(frozen=True)
class Asked:
    """One row and the measurement behind it."""

    row: Row
    measure: str
    arguments: dict[str, Any] = field(default_factory=dict)
    #: Every system does it once before it counts: its workers have only just been started.
    warm_up: bool = False


@dataclass(frozen=True)
class Role:
    """Systems are started in this role, ``rounds`` times."""

    name: str
    rounds: int
    asked: tuple[Asked, ...]


def roles(quick: bool) -> list[Role]:
    """All that is measured."""
    calls = 50 if quick else 500
    inputs = 1000 if quick else 10_000
    naps = 200 if quick else 1000
    rounds = 1 if quick else 3
    asked = [
        _warm("warm", "warm no-op call, p50 / p99", calls),
        _warm("warm_compiled", "the same through a pipeline compiled for it", calls, True),
        _fan_out("fan_out", f"fan-out of {inputs:,} no-ops", inputs),
        _fan_out("fan_out_batched", "the same, in batches that are one task each", inputs, True),
    ]
    for megabytes, count in ((1, 5 if quick else 40), (100, 2 if quick else 3)):
        for kind in ("bytes", "array"):
            for measure, what in (("sent", "as argument"), ("fetched", "as result")):
                name = "NumPy array" if kind == "array" else kind
                row = Row(f"{measure}_{kind}_{megabytes}", f"{megabytes} MB of {name} {what}", "ms")
                arguments = {"kind": kind, "size": megabytes * 1_000_000, "count": count}
                asked.append(Asked(row, measure, arguments))
    slots = Row("slots", f"{naps:,} inputs of 10 ms over 64 slots", "a second", naps)
    isolated = Row("isolated", "a fresh process for each input, torch preloaded, p50 / p99", "ms")
    total = Row("memory", "PSS of 8 idle workers with torch and an 84 MB model", "MiB")
    everything = Row("memory_all", "the same, with everything that the system runs", "MiB")
    return [
        Role("calls", 1 if quick else 4, tuple(asked)),
        Role(
            "slots",
            rounds,
            (Asked(slots, "slots", {"count": naps, "milliseconds": 10.0}, warm_up=True),),
        ),
        Role("isolated", rounds, (Asked(isolated, "isolated", {"count": 5 if quick else 50}),)),
        Role(
            "memory",
            1 if quick else 2,
            (Asked(total, "memory", {"count": 8}), Asked(everything, "", {})),
        ),
    ]


def _warm(key: str, title: str, count: int, aside: bool = False) -> Asked:
    return Asked(Row(key, title, "ms", aside=aside), key, {"count": count})


def _fan_out(key: str, title: str, count: int, aside: bool = False) -> Asked:
    return Asked(Row(key, title, "a second", count, aside), key, {"count": count})


#: Why a system has no figure in a row.
NOTHING = {
    ("fan_out_batched", OURS): "not needed: each input is tracked by itself",
    ("warm_compiled", OURS): "no such thing",
    ("warm_compiled", "pool"): "no such thing",
    ("warm_compiled", "celery"): "no such thing",
}


def run(chosen: list[Role], systems: list[str], logs: Path, steps: Steps, found: Versus) -> None:
    """Measure all of it into ``found``."""
    for role in chosen:
        found.rows += [asked.row for asked in role.asked]
    hanging: set[tuple[str, str]] = set()
    for role in chosen:
        for turn in range(role.rounds):
            steps.part(f"{role.name}, round {turn + 1} of {role.rounds}")
            place = turn % len(systems)
            for system in systems[place:] + systems[:place]:
                if (role.name, system) in hanging:
                    continue  # it would again, for as long as the limit
                with (
                    _noted(found, role, system, steps, hanging),
                    started(system, role.name, logs=logs) as peer,
                ):
                    found.versions[system] = peer.version
                    _measure(role, system, peer, steps, found)


@contextlib.contextmanager
def _noted(
    found: Versus, role: Role, system: str, steps: Steps, hanging: set[tuple[str, str]]
) -> Iterator[None]:
    """A system that does not even start leaves the reason in its rows; so does one that hangs."""
    try:
        yield
    except MeasureError as error:
        if isinstance(error, HangsError):
            hanging.add((role.name, system))
        found.versions.setdefault(system, system)
        steps.report(f"{NAMES[system]}, {role.name}", None, str(error))
        for asked in role.asked:
            found.missing.setdefault(asked.row.key, {})[system] = str(error)


def _measure(role: Role, system: str, peer: Peer, steps: Steps, found: Versus) -> None:
    for asked in role.asked:
        forms = peer.forms.get(asked.measure, [])
        if not forms and asked.measure:
            reason = NOTHING.get((asked.row.key, system), "no such thing")
            found.missing.setdefault(asked.row.key, {})[system] = reason
        for form in forms:
            if not found.in_the_running(asked.row.key, system, form):
                continue
            kept = found.form(asked.row.key, system, form)
            try:
                if asked.warm_up:
                    peer.ask(asked.measure, form, **asked.arguments)
                value = peer.ask(asked.measure, form, **asked.arguments)
            except MeasureError as error:
                kept.errors.append(str(error))
                steps.report(f"{NAMES[system]}, {asked.row.title}", None, f"{form}: {error}")
                if isinstance(error, HangsError) or peer.process.poll() is not None:
                    raise
                continue
            if role.name == "memory":
                holders, everything = memory.of(peer, itself=system == "pool")
                kept.samples.append(holders)
                found.form("memory_all", system, form).samples.append(everything)
            else:
                kept.samples += value if isinstance(value, list) else [value]
            steps.say(f"{NAMES[system]}, {form}: {shown(asked.row, found, kept)}")
