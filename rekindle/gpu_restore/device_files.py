"""Which device files a runner must not open, given the GPUs that it has.

/dev/nvidia<minor> is one GPU, nvidiactl and the like are all of them together, and below
nvidia-caps are the instances of GPUs in MIG mode. Reads /dev and /proc; hides nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from rekindle.gpu_restore.inventory import Gpu, Inventory

#: Of no use without a GPU, needed with any.
_COMMON = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
#: Where the driver says which capability file is whose.
_MIG_MINORS = "/proc/driver/nvidia-caps/mig-minors"
_ACCESS = re.compile(r"gpu(\d+)/gi(\d+)(?:/ci(\d+))?/access (\d+)")


def to_hide(found: Inventory, given: Collection[str]) -> list[str]:
    """Device files that are there and not for a runner with the devices ``given`` (UUIDs).

    ``found`` is all that the machine has, also what rekindle may not hand out.
    """
    names = [] if given else list(_COMMON)
    names += [
        f"nvidia{gpu.minor}"
        for gpu in found.gpus
        if gpu.minor is not None and not _has_part(gpu, given)
    ]
    names += [f"nvidia-caps/nvidia-cap{number}" for number in _instances(found, given)]
    return [f"/dev/{name}" for name in names if Path("/dev", name).exists()]


def _has_part(gpu: Gpu, given: Collection[str]) -> bool:
    return gpu.uuid in given or any(one.uuid in given for one in gpu.instances)


def _instances(found: Inventory, given: Collection[str]) -> list[int]:
    """Numbers of the capability files of instances that are not given."""
    try:
        text = Path(_MIG_MINORS).read_text(encoding="ascii")
    except OSError:
        return []  # this driver has no MIG
    own = {
        (gpu.minor, one.gpu_instance, part)
        for gpu in found.gpus
        for one in gpu.instances
        for part in (None, one.compute_instance)  # the file of the GPU instance, and its own
        if one.uuid in given
    }
    return [
        int(number)
        for gpu, instance, part, number in _ACCESS.findall(text)
        if (int(gpu), int(instance), int(part) if part else None) not in own
    ]
