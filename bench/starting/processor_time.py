"""Processor time of a start, over all processes: of the client, of the instance, of the runner.

Starts in a row, so far apart that none meets another; their function goes on until the last one is
there, so each call starts a runner of its own. All that the instance uses from before the first of
them until it is quiet again counts: so the end of each runner is in it, and the spare that is made
again. Taken off is what it uses when it is idle, and for having so many runners while they sleep,
both measured. The bare forks are asked for in between.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from lab.steps import Steps
from rekindle.exception import Error
from rekindle.sdk.calls import lease_caches, records
from starting.bare import Bare
from starting.figures import CpuFigures
from starting.functions import WINDOW_S
from starting.left_behind import DAEMONS, role_of
from starting.places import Place, Places, settle, until_no_runner_is_left

#: Between starts: more than one takes, and than it takes until the next spare waits.
_BETWEEN_S = 0.08
_IDLE_S = 2.0
#: All are there and sleep for this long, and for some of it is looked at what that takes.
_HELD_S, _LOOKED_AT_S = 1.2, 0.8
_PATIENCE_S = 120.0


def measure(
    at: Places, kinds: tuple[str, ...], starts: int, bare: Bare, steps: Steps
) -> list[CpuFigures]:
    """``starts`` of each."""
    until_no_runner_is_left(at)
    settle(at)
    idle = {place.strategy: _Rates.of(place, _IDLE_S) for place in at.values()}
    found = []
    for kind in kinds:
        for place in at.values():
            settle(at)
            steps.say(f"{kind}, {place.strategy}: {starts} starts")
            found.append(_one(place, kind, starts, idle[place.strategy], bare))
        until_no_runner_is_left(at)
    return found


def _one(place: Place, kind: str, starts: int, idle: _Rates, bare: Bare) -> CpuFigures:
    function = place.functions.starts[kind]
    lasts_s = starts * _BETWEEN_S + _HELD_S
    errors: list[str] = []

    def call() -> None:
        try:
            function.remote(lasts_s)
        except Error as error:
            errors.append(f"{type(error).__name__}: {error}")

    bare_ms = []
    threads = [threading.Thread(target=call, daemon=True) for _ in range(starts)]
    began, before, roles = time.monotonic(), place.cpu_s(), _of_daemons(place)
    client, main = time.process_time(), time.thread_time()
    with records.collect() as finished:
        for number, thread in enumerate(threads):
            _until(began + number * _BETWEEN_S)
            thread.start()
            _until(began + (number + 0.7) * _BETWEEN_S)
            bare_ms.append(bare.one().cpu_ms)
        _until(began + starts * _BETWEEN_S + (_HELD_S - _LOOKED_AT_S) / 2)
        holding = _Rates.of(place, _LOOKED_AT_S).whole - idle.whole
        deadline = time.monotonic() + lasts_s + _PATIENCE_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    lease_caches.give_back_of(place.app)
    client_s = (time.process_time() - client) - (time.thread_time() - main)
    if any(thread.is_alive() for thread in threads):
        errors.append(f"hangs: a call had no answer after {_PATIENCE_S:g} s")
    time.sleep(WINDOW_S + 1.0)  # until the runners have gone; to ask would cost what is measured
    place.at.settle()
    took_s = time.monotonic() - began
    used_s = place.cpu_s() - before - idle.whole * took_s - holding * lasts_s
    daemons = {
        role: (spent - roles[role] - idle.daemons.get(role, 0.0) * took_s) * 1e3 / starts
        for role, spent in _of_daemons(place).items()
        if role in roles
    }
    until_no_runner_is_left({place.strategy: place})
    others = [one.strategy for one in finished if one.strategy != place.strategy]
    errors += [f"{other} served, not {place.strategy}" for other in others]
    return CpuFigures(
        kind=kind,
        strategy=place.strategy,
        starts=starts,
        instance_ms=used_s * 1e3 / starts,
        daemons_ms=daemons,
        client_ms=client_s * 1e3 / starts,
        holding_ms=holding * lasts_s * 1e3 / starts,
        bare_ms=bare_ms,
        counted=place.group.how,
        errors=errors,
    )


@dataclass(frozen=True)
class _Rates:
    """Seconds of processor time in a second: of a whole instance, and of its daemons by role."""

    whole: float
    daemons: dict[str, float]

    @classmethod
    def of(cls, place: Place, seconds: float) -> _Rates:
        """As it is in this time."""
        before, roles, began = place.cpu_s(), _of_daemons(place), time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - began
        after = _of_daemons(place)
        rates = {role: (after.get(role, spent) - spent) / took_s for role, spent in roles.items()}
        return cls((place.cpu_s() - before) / took_s, rates)


def _of_daemons(place: Place) -> dict[str, float]:
    """Seconds of processor time by role, of the processes that no start makes."""
    found: dict[str, float] = {}
    for process in place.at.processes():
        with contextlib.suppress(psutil.Error, OSError):
            if (role := role_of(process)) in DAEMONS:
                threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
                found[role] = sum(int(one.read_text().split()[0]) for one in threads) / 1e9
    return found


def _until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
