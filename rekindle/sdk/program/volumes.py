"""The volumes of a declaration as they travel; those that may be made are, before the app runs."""

from __future__ import annotations

from collections.abc import Mapping

from rekindle.sdk import volume_place
from rekindle.sdk.volume import Volume
from rekindle.sdk.volume_mounts import Mountable, check_together
from rekindle.wire.volumes import VolumeMount


def mounts_of(
    of_app: Mapping[str, Mountable], of_function: Mapping[str, Mountable]
) -> tuple[VolumeMount, ...]:
    """By path; a function's own count. Raises NotFoundError, InvalidError."""
    together = {**of_app, **of_function}
    check_together("volumes", together)
    return tuple(_mount(path, together[path]) for path in sorted(together))


def _mount(path: str, volume: Mountable) -> VolumeMount:
    if not isinstance(volume, Volume):
        return VolumeMount(
            path=path, url=volume.url, options=volume.options, read_only=volume.read_only
        )
    found = volume_place.record(volume._reference)
    return VolumeMount(
        path=path,
        name=found.name,
        environment=found.environment,
        read_only=volume._read_only,
        sub_path=volume._sub_path,
    )
