"""What a spare that waits holds of memory.

Its own share (PSS) of what it maps, as the kernel tells it, and what the whole instance holds more
with it than without: a share that it takes over from its template costs nothing.
"""

from __future__ import annotations

import time

import psutil

from lab.steps import Steps
from rekindle.exception import StrategyUnavailableError
from rekindle.linux.maps import share_of
from rekindle.sdk import autoscaler
from starting.figures import SpareFigures
from starting.places import Place, until_no_runner_is_left

#: How many are made for it.
SPARES = 4
_PATIENCE_S = 60.0


def measure(place: Place, kinds: tuple[str, ...], steps: Steps) -> list[SpareFigures]:
    """Of each kind, one after another, with no other spares there."""
    for function in (*place.functions.starts.values(), place.functions.fresh):
        function.remote()  # a spare that was asked for by name stays until a start takes it
    until_no_runner_is_left({place.strategy: place})
    names = {kind: place.functions.starts[kind].name.partition(".")[0] for kind in kinds}
    for name in set(place.app.function_ids):
        _set(place, name, 0)
    found = []
    for kind in kinds:
        steps.say(f"a spare with {kind}")
        without = _processes(place)
        before = sum(map(_pss, without))
        _set(place, names[kind], SPARES)
        spares = _appeared(place, without)
        held = sum(map(_pss, _processes(place)))
        found.append(
            SpareFigures(
                kind=kind,
                pss_bytes=[_pss(one) for one in spares],
                added_bytes=(held - before) / SPARES,
            )
        )
        _set(place, names[kind], 0)
    return found


def _set(place: Place, function: str, spares: int) -> None:
    name = f"{place.app.name}.{function}"
    autoscaler.set_by_name(place.app.client, name, spare_containers=spares)
    place.at.settle()


def _processes(place: Place) -> set[psutil.Process]:
    place.at.settle()
    return set(place.at.processes())


def _appeared(place: Place, before: set[psutil.Process]) -> list[psutil.Process]:
    """The spares: of the new processes those that have a template's memory, not its helpers."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        new = sorted(_processes(place) - before, key=_pss, reverse=True)
        if len(new) >= SPARES:
            return new[:SPARES]
        if time.monotonic() > deadline:
            raise StrategyUnavailableError(f"{len(new)} of {SPARES} spares came")
        time.sleep(0.1)


def _pss(process: psutil.Process) -> int:
    share = share_of(process.pid)
    return 0 if share is None else share.pss
