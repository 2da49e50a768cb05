"""What a spare that waits holds of memory.

Its own share (PSS) of what it maps, as the kernel tells it, and what the whole instance holds more
with it than without: a share that it takes over from its template costs nothing.
"""

from __future__ import annotations

import psutil

from lab.steps import Steps
from rekindle.linux.maps import share_of
from rekindle.sdk import autoscaler
from starting.figures import SpareFigures
from starting.places import Place, until_no_runner_is_left, until_spares_are

#: How many are made for it.
SPARES = 4


def measure(place: Place, kinds: tuple[str, ...], steps: Steps) -> list[SpareFigures]:
    """Of each kind, one after another, with no other spares there."""
    for function in (*place.functions.starts.values(), place.functions.fresh):
        function.remote()  # a spare that was asked for by name stays until a start takes it
    until_no_runner_is_left({place.strategy: place})
    for function in place.app.function_ids:
        name = f"{place.app.name}.{function}"
        autoscaler.set_by_name(place.app.client, name, spare_containers=0)
    until_spares_are(place, 0)
    found = []
    for kind in kinds:
        steps.say(f"a spare with {kind}")
        without = _processes(place)
        before = sum(map(_pss, without))
        pool = place.functions.pools[kind]
        pool.update_autoscaler(spare_containers=SPARES)
        until_spares_are(place, SPARES)
        # Those of the new processes that have a template's memory, not its helpers.
        spares = sorted(_processes(place) - without, key=_pss, reverse=True)[:SPARES]
        held = sum(map(_pss, _processes(place)))
        found.append(
            SpareFigures(
                kind=kind,
                pss_bytes=[_pss(one) for one in spares],
                added_bytes=(held - before) / SPARES,
            )
        )
        pool.update_autoscaler(spare_containers=0)
        until_spares_are(place, 0)
    return found


def _processes(place: Place) -> set[psutil.Process]:
    place.at.settle()
    return set(place.at.processes())


def _pss(process: psutil.Process) -> int:
    share = share_of(process.pid)
    return 0 if share is None else share.pss
