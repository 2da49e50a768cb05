"""Where volumes lie, for a program and for a runner. Imported when one is used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from rekindle.exception import NotFoundError, VolumeBusyError
from rekindle.execution import volumes as here
from rekindle.execution.context import is_local
from rekindle.sdk import loop_warning, volume_waits
from rekindle.sdk.block import Block
from rekindle.sdk.environments import meant_by
from rekindle.sdk.user_frames import trims
from rekindle.sdk.volume_info import VolumeInfo, VolumeReference
from rekindle.volumes import remote
from rekindle.volumes.registry import EPHEMERAL, Registry, VolumeRecord


@volume_waits.told()
def record(reference: VolumeReference) -> VolumeRecord:
    """Its record; made where it is missing and may be. Raises NotFoundError.

    In a runner that has it at a path, it is that one, whatever has its name by now.
    """
    registry = Registry.default()
    if reference.id:
        return registry.by_id(reference.id)
    environment = meant_by(reference.environment)
    if mounted_id := here.id_of(environment, reference.name):
        return _mounted(registry, reference.name, environment, mounted_id)
    try:
        return registry.find(reference.name, environment)
    except NotFoundError:
        if not reference.make:
            raise
        return registry.create(reference.name, environment, reference.url, allow_existing=True)


def _mounted(registry: Registry, name: str, environment: str, mounted_id: str) -> VolumeRecord:
    """That of a volume which this runner has, and which may have another name now."""
    for _ in range(2):  # one that is renamed during the first is found by the second
        with contextlib.suppress(NotFoundError):
            found = registry.find(name, environment)
            if found.id == mounted_id:
                return found
        with contextlib.suppress(NotFoundError):
            return registry.by_id(mounted_id)
    raise NotFoundError(
        f"the volume {name!r} ({mounted_id}) that this runner has was deleted; runners that "
        f"start from now on have the one that has its name"
    )


def folder(reference: VolumeReference) -> remote.Folder:
    """The folder that its files lie in."""
    return remote.of_volume(record(reference))


def fresh(reference: VolumeReference) -> remote.Folder:
    """The same; a program sees what the store has now, a runner what it has reloaded."""
    found = folder(reference)
    if is_local():
        found.pull_if_old()
    return found


def reload(found: remote.Folder) -> None:
    """See what was committed. Raises VolumeBusyError where this runner has files of it open."""
    for one in here.mounted:
        if one.id == found.id and (opened := _open_below(one.path)):
            raise VolumeBusyError(
                f"{found.label} cannot be reloaded while this runner has files of it open: "
                f"{', '.join(opened[:4])}; close them first"
            )
    found.pull()


def _open_below(path: str) -> list[str]:
    """What this process has open of a mounted directory, its working directory included."""
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    found = []
    for link in ["/proc/self/cwd", *links]:
        try:
            place = os.readlink(link)
        except FileNotFoundError:
            continue  # the listing's own
        if place == path or place.startswith(f"{path}/"):
            found.append(place)
    return found


@volume_waits.told()
def create(name: str, environment: str, url: str, *, allow_existing: bool) -> VolumeInfo:
    """Raises AlreadyExistsError, InvalidError."""
    made = Registry.default().create(name, environment, url, allow_existing=allow_existing)
    return _info(made)


def listed(environment: str) -> list[VolumeInfo]:
    """Those of an environment."""
    registry = _swept()
    with volume_waits.told():
        return [_info(one) for one in registry.all(environment)]


def _swept() -> Registry:
    """The volumes here, without what programs that were killed have left."""
    with volume_waits.told():
        registry = Registry.default()
        left_over = registry.left_over()
    registry.sweep(left_over)  # many files take long, where the directory answers
    return registry


def delete(name: str, environment: str, *, allow_missing: bool) -> None:
    """Raises NotFoundError."""
    try:
        with volume_waits.told():
            registry = Registry.default()
            found = registry.find(name, environment)
        registry.delete(found)  # many files take long, where the directory answers
    except NotFoundError:
        if not allow_missing:
            raise


def rename(reference: VolumeReference, name: str) -> None:
    """Raises NotFoundError, AlreadyExistsError. It is the one that has the name now."""
    with volume_waits.told():
        registry = Registry.default()
        found = registry.find(reference.name, meant_by(reference.environment))
        registry.rename(found, name)


def info(reference: VolumeReference) -> VolumeInfo:
    """Raises NotFoundError."""
    return _info(record(reference))


def _info(found: VolumeRecord) -> VolumeInfo:
    from datetime import UTC, datetime

    made = datetime.fromtimestamp(found.created_ns / 1e9, UTC)
    return VolumeInfo(found.name, found.environment, found.id, made, found.url)


@trims
class EphemeralVolume(Block[Any]):
    """The context manager that ``Volume.ephemeral()`` gives."""

    def __init__(self, make: Callable[[str, str], Any]) -> None:
        self._make = make
        self._held: AbstractContextManager[VolumeRecord] | None = None

    def __enter__(self) -> Any:
        if loop_warning.loop_runs():
            what = "with Volume.ephemeral():"
            loop_warning.warn_of_with(what, f"async {what}")
        registry = _swept()
        with volume_waits.told():
            self._held = registry.ephemeral()
            made = self._held.__enter__()
        return self._make(made.name, EPHEMERAL)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._held is not None
        self._held.__exit__(kind, error, traceback)
