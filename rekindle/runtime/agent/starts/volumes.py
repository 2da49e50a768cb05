"""A function's volumes on this node: where they lie, as their stores have them.

They may lie on a file system that does not answer: each look is apart (apart.py).
"""

from __future__ import annotations

import os
from typing import TypedDict

from rekindle.exception import Error, StartError
from rekindle.execution.volumes import Mounted
from rekindle.runtime.agent.apart import apart
from rekindle.volumes import remote
from rekindle.volumes.registry import Registry, made_at, place
from rekindle.wire.spec import FunctionSpec
from rekindle.wire.volumes import VolumeMount


class Bind(TypedDict):
    """A directory that processes of a function see at another place (isolation/init.py)."""

    root: str
    below: str
    #: Both together, for who only looks.
    source: str
    target: str
    read_only: bool
    #: Which volume it is now; empty for a bucket.
    environment: str
    name: str
    id: str


async def binds_of(spec: FunctionSpec) -> list[Bind]:
    """Where its volumes lie now. Raises StartError, also for one that was deleted."""
    return (await binds_and_written(spec))[0]


async def binds_and_written(spec: FunctionSpec) -> tuple[list[Bind], list[remote.Folder]]:
    """Where its volumes lie now; of those, what is kept the same as a store and may be written to.

    One look for both. Raises StartError, also for one that was deleted.
    """
    if not spec.volumes:
        return [], []
    try:
        found = await apart(lambda: [_bind(mount) for mount in spec.volumes])
    except (Error, OSError) as error:
        raise StartError(f"{spec.app_name}.{spec.name} cannot have its volumes: {error}") from error
    written = [folder for bind, folder in found if folder.url and not bind["read_only"]]
    return [bind for bind, _folder in found], written


def _bind(mount: VolumeMount) -> tuple[Bind, remote.Folder]:
    folder = _folder(mount)
    if folder.url:
        folder.pull_if_old()
    if mount.sub_path and not mount.read_only:
        folder.tree.mkdir(mount.sub_path)
    bind = Bind(
        root=str(folder.files),
        below=mount.sub_path,
        source=os.path.join(folder.files, mount.sub_path),
        target=mount.path,
        read_only=mount.read_only,
        environment=mount.environment,
        name=mount.name,
        id=folder.id,
    )
    return bind, folder


#: What was read of a volume, and which it was then: each start of a runner asks.
_known: dict[tuple[str, str, str], tuple[tuple[int, int], remote.Folder]] = {}


def _folder(mount: VolumeMount) -> remote.Folder:
    if mount.url:
        return _url_folder(mount)
    root = place()
    which = (str(root), mount.environment, mount.name)
    made, folder = _known.get(which, ((0, 0), None))
    if folder is not None:
        try:
            if made_at(folder.files.parent) == made:
                return folder
        except FileNotFoundError:
            _known.pop(which, None)  # deleted, or renamed
    record = Registry(root).find(mount.name, mount.environment)
    folder = remote.of_volume(record)
    _known[which] = (made_at(record.place), folder)
    return folder


def _url_folder(mount: VolumeMount) -> remote.Folder:
    return remote.of_url(place(), mount.url, mount.options)


def mounted(binds: list[Bind]) -> list[Mounted]:
    """Which volume each is, for code that names them."""
    return [Mounted(one["target"], one["environment"], one["name"], one["id"]) for one in binds]


def sources(binds: list[Bind]) -> list[list[str]]:
    """Of each: where processes see it, and where that lies on the machine."""
    return [[one["target"], one["source"]] for one in binds]
