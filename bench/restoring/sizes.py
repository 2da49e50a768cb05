"""One size of model: its snapshot made, then restored, copied, forked and started cold in turn."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import interleave
from lab.interleave import Entry
from lab.steps import Steps
from rekindle import App
from rekindle.bench.records import Run
from rekindle.exception import StrategyUnavailableError
from rekindle.snapshot.store import Snapshot, SnapshotStore
from rekindle.wire.phases import Strategy
from restoring import probes, scaling
from restoring.calls import forced, prepare
from restoring.instance import Instance, instance
from restoring.models import LAYER_BYTES, Models, declare, layers_of
from restoring.scaling import SizeFigures, SnapshotFigures

#: Between calls that are made while a snapshot is written.
_BETWEEN_CALLS_S = 0.05
#: A snapshot that is not there by then does not come.
_FREEZE_S = 900.0


@dataclass(frozen=True)
class Runs:
    """How often each thing is measured."""

    quick: int  # what takes milliseconds
    slow: int  # what copies gigabytes
    cold: int
    calls: int  # of a comparison of calls with and without a dump


@dataclass(frozen=True)
class Place:
    """Where a size is measured: instances of both modes, and apps in them."""

    mapped: Instance
    copied: Instance | None
    models: Models
    models_copied: Models
    layers: int
    small_layers: int

    def settle(self) -> None:
        """Wait until both are quiet."""
        self.mapped.settle()
        if self.copied is not None:
            self.copied.settle()

    @property
    def model(self) -> Any:
        """The model, in the instance that maps."""
        return self.models.model(layers=self.layers)

    @property
    def small(self) -> Any:
        """The smallest model, in the instance that maps."""
        return self.models.model(layers=self.small_layers)


@contextlib.contextmanager
def place(
    home: Path, gigabytes: float, small_gigabytes: float, *, copied: bool = True
) -> Iterator[Place]:
    """Both instances, or just the one that maps, on the snapshots that ``home`` has already."""
    models, models_copied = declare(), declare()
    with contextlib.ExitStack() as stack:

        def run(mode: str, app: App) -> Instance:
            at = stack.enter_context(instance(home, mode))
            with at.chosen():
                stack.enter_context(app.run())
            return at

        found = Place(
            run("auto", models.app),
            run("copied", models_copied.app) if copied else None,
            models,
            models_copied,
            layers_of(gigabytes),
            layers_of(small_gigabytes),
        )
        for function in (models.nothing, found.small.nothing, found.model.nothing):
            prepare(function, Strategy.RESTORE)
            prepare(function, Strategy.FORK)
        if copied:
            prepare(models_copied.model(layers=found.layers).nothing, Strategy.RESTORE)
        yield found


def measure(at: Place, gigabytes: float, runs: Runs, steps: Steps) -> SizeFigures:
    """Starts of one size, all of them interleaved with those of no model and the smallest."""
    layers, small = at.layers, at.small
    model = at.model
    copied = at.models_copied.model(layers=layers)
    nothing = at.models.nothing
    with probes.forks(scaling.BARE_FORK) as bare:
        entries = [
            Entry(scaling.FLOOR, forced(nothing, Strategy.RESTORE), runs.quick),
            Entry(scaling.RESTORE, forced(model.nothing, Strategy.RESTORE), runs.quick),
            Entry(scaling.FLOOR_FORK, forced(nothing, Strategy.FORK), runs.quick),
            Entry(scaling.FORK, forced(model.nothing, Strategy.FORK), runs.quick),
            Entry(scaling.WARM, _warm(nothing), runs.quick),
            Entry(scaling.BARE_FORK, bare.run, runs.quick),
            Entry(scaling.COPIED, forced(copied.nothing, Strategy.RESTORE), runs.slow),
            Entry(scaling.COLD, forced(model.nothing, Strategy.COLD), runs.cold),
        ]
        if layers != at.small_layers:
            entries += [
                Entry(scaling.SMALL, forced(small.nothing, Strategy.RESTORE), runs.quick),
                Entry(scaling.SMALL_FORK, forced(small.nothing, Strategy.FORK), runs.quick),
            ]
        # The first run of each meets caches that later ones do not: those of CRIU, of the kernel.
        for entry in entries:
            if entry.name not in (scaling.COLD, scaling.COPIED):
                entry.measure()
        results = interleave.measure(entries, settle=at.settle, report=steps.report)
    return SizeFigures(gigabytes=gigabytes, model_bytes=layers * LAYER_BYTES, results=results)


def _warm(function: Any) -> Callable[[], Run]:
    """A warm call; the runner for it may have idled too long, and is there again first."""
    call = forced(function, Strategy.WARM)

    def measure_one() -> Run:
        prepare(function, Strategy.WARM)
        return call()

    return measure_one


def fork_limits(size: SizeFigures, runs: int, steps: Steps) -> None:
    """Forks of a bare process that holds as much memory, in small and in huge pages."""
    for name, pages in ((scaling.SMALL_PAGES, "4k"), (scaling.HUGE, "huge")):
        steps.say(f"{name}, {size.gigabytes:g} GB")
        with probes.forks(name, memory=size.model_bytes, pages=pages) as probe:
            probe.ask()
            size.forks[name] = [probe.ask() for _ in range(runs)]


def make_snapshot(home: Path, gigabytes: float, runs: Runs, steps: Steps) -> SnapshotFigures:
    """Boot a template, freeze it by way of a copy, and call it meanwhile."""
    models = declare()
    with instance(home, "auto") as at, at.chosen(), models.app.run():
        target = models.model(layers=layers_of(gigabytes)).nothing
        warm, fork = forced(target, Strategy.WARM), forced(target, Strategy.FORK)
        steps.say("booting a template")
        began = time.monotonic()
        prepare(target, Strategy.FORK)
        boot_ms = (time.monotonic() - began) * 1e3
        prepare(target, Strategy.WARM)  # a runner is forked and idles; no call has been made yet
        before = {"fork": [fork().total_ms]}  # the first answer sets the dump going
        steps.say("freezing it, while calls go on")
        began = time.monotonic()
        during: dict[str, list[float]] = {"warm": [], "fork": []}
        freezing = _Background(target)
        while freezing.is_running:
            if time.monotonic() - began > _FREEZE_S:
                break  # check() says so
            during["warm"].append(warm().total_ms)
            with contextlib.suppress(StrategyUnavailableError):  # between two templates
                during["fork"].append(fork().total_ms)
            time.sleep(_BETWEEN_CALLS_S)  # so that the dump, which gives way, is not starved
        freezing.check()
        total_ms = (time.monotonic() - began) * 1e3
        at.settle()
        after = {"warm": [warm().total_ms for _ in range(runs.calls)]}
        return _figures(of_size(home, gigabytes), boot_ms, total_ms, before, during, after)


class _Background:
    """The wait for the snapshot, on a thread of its own."""

    def __init__(self, target: Any) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._wait, args=(target,), daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def check(self) -> None:
        """Raise what the wait ended with, if that is an error."""
        self._thread.join(_FREEZE_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the snapshot was not there after {_FREEZE_S:g} s")
        if self._error is not None:
            raise self._error

    def _wait(self, target: Any) -> None:
        try:
            prepare(target, Strategy.RESTORE)
        except BaseException as error:  # noqa: BLE001 - raised again by check
            self._error = error


def of_size(home: Path, gigabytes: float) -> Snapshot:
    """The snapshot of a model of that size. Raises StrategyUnavailableError where there is none."""
    at_least = layers_of(gigabytes) * LAYER_BYTES
    for entry in SnapshotStore(home / "snapshots").list():  # newest first
        if entry.snapshot is not None and entry.snapshot.manifest.pages_bytes >= at_least:
            return entry.snapshot
    raise StrategyUnavailableError(f"no snapshot of {gigabytes:g} GB was made")


def forget(home: Path, gigabytes: float) -> None:
    """Remove the snapshot of a size: it is as large as the model."""
    SnapshotStore(home / "snapshots").remove(of_size(home, gigabytes).key)


def _figures(
    snapshot: Snapshot,
    boot_ms: float,
    total_ms: float,
    before: dict[str, list[float]],
    during: dict[str, list[float]],
    after: dict[str, list[float]],
) -> SnapshotFigures:
    manifest = snapshot.manifest
    mapping = manifest.mapping
    map_ms = float(mapping.get("elapsed_ms", math.nan))
    note = snapshot.why_not_mapped or (
        f"{mapping['layout']}, {mapping['areas']} areas, "
        f"{mapping['copied_bytes'] / 1e6:.1f} MB copied at each restore"
    )
    files = [path for path in snapshot.path.rglob("*") if path.is_file() and not path.is_symlink()]
    inodes = {(info.st_dev, info.st_ino): info for info in (path.lstat() for path in files)}
    return SnapshotFigures(
        boot_ms=boot_ms,
        dump_ms=manifest.dump_ms,
        map_ms=map_ms,
        commit_ms=manifest.commit_ms - (0.0 if math.isnan(map_ms) else map_ms),
        total_ms=total_ms,
        page_bytes=manifest.pages_bytes,
        disk_bytes=sum(info.st_blocks * 512 for info in inodes.values()),
        mapping_bytes=int(mapping.get("written_bytes", 0)),
        mapped=snapshot.is_mapped,
        note=note,
        before=before,
        during=during,
        after=after,
    )
