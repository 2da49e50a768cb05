"""Device files that a runner must not open: those of GPUs that are others'.

Standard library only. Before user code runs: it has no part in this.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from rekindle.linux import capabilities, mounts


def hide(paths: Sequence[str]) -> str:
    """Forbid them in this mount namespace; why that is not possible here, "" where it is.

    What the process was told of GPUs (CUDA_VISIBLE_DEVICES) holds in either case.
    """
    try:
        if os.geteuid() != 0:
            capabilities.take_up()
        for path in paths:
            mounts.forbid_device(path)
    except OSError as error:
        return str(error)
    return ""
