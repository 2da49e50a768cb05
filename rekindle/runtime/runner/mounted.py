"""The volumes of a runner: those that its template had, unless they are others by now.

Standard library only. Before user code runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rekindle.exception import VolumeError
from rekindle.execution import volumes
from rekindle.linux import capabilities, mounts


def see(binds: Sequence[Mapping[str, Any]]) -> None:
    """Have each directory at its place. Raises VolumeError.

    It is there already, inherited or made with this process, unless the volume was deleted and
    made again since its template booted.
    """
    for one in binds:
        try:
            wanted, there = os.stat(one["source"]), os.stat(one["target"])
            if wanted.st_ino != there.st_ino or wanted.st_dev != there.st_dev:
                if os.geteuid() != 0:
                    capabilities.take_up()
                mounts.unmount(one["target"])  # nothing can be mounted on a deleted directory
                mounts.bind_beneath(
                    one["root"], one["below"], one["target"], read_only=one["read_only"]
                )
        except OSError as error:
            raise VolumeError(f"no volume can be at {one['target']}: {error}") from error
    volumes.mounted = [
        volumes.Mounted(one["target"], one["environment"], one["name"], one["id"]) for one in binds
    ]
