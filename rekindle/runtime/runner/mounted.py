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
            wanted = os.stat(os.path.join(one["root"], one["below"]))
            if not os.path.samestat(wanted, os.stat(one["target"])):
                if os.geteuid() != 0:
                    capabilities.take_up()
                mounts.unmount(one["target"])  # nothing can be mounted on a deleted directory
                mounts.bind_beneath(
                    one["root"], one["below"], one["target"], read_only=one["read_only"]
                )
        except OSError as error:
            raise VolumeError(f"no volume can be at {one['target']}: {error}") from error
    volumes.mounted = [volumes.Mounted(one["target"], one["root"], one["below"]) for one in binds]
