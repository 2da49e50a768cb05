"""Names of GPU models: what NVML calls a product, and which products serve a request.

Pure: asks no driver. Sizes are compared with the memory that a device reports, not with what its
name says: a GH200's name has the size of its host memory.
"""

from __future__ import annotations

import functools
import re
from typing import Protocol

from rekindle.wire.gpus import ANY

_DATA_CENTER = (
    *("T4", "P4", "P40", "P100", "V100", "A2", "A10", "A10G", "A16", "A30", "A40", "A100", "A800"),
    *("L4", "L20", "L40", "L40S", "H20", "H100", "H200", "H800", "B100", "B200", "B300"),
    *("GH200", "GB200", "GB300"),
)
_WORKSTATION = {
    "RTX-PRO-6000": "RTX PRO 6000",
    "RTX-PRO-5000": "RTX PRO 5000",
    "RTX-PRO-4000": "RTX PRO 4000",
    "RTX-6000-ADA": "RTX 6000 ADA",
    "RTX-5000-ADA": "RTX 5000 ADA",
    "RTX-4500-ADA": "RTX 4500 ADA",
    "RTX-4000-ADA": "RTX 4000 ADA",
    "A6000": "RTX A6000",
    "A5000": "RTX A5000",
    "A4000": "RTX A4000",
    "RTX-6000": "RTX 6000",
    "TITAN-RTX": "TITAN RTX",
    "TITAN-V": "TITAN V",
}
_GEFORCE = (
    *("2060", "2060 SUPER", "2070", "2070 SUPER", "2080", "2080 SUPER", "2080 TI"),
    *("3060", "3060 TI", "3070", "3070 TI", "3080", "3080 TI", "3090", "3090 TI"),
    *("4060", "4060 TI", "4070", "4070 SUPER", "4070 TI", "4070 TI SUPER"),
    *("4080", "4080 SUPER", "4090", "5060", "5060 TI", "5070", "5070 TI", "5080", "5090"),
)
#: Model -> its words in NVML's product name, in capitals.
_WORDS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in _DATA_CENTER},
    **{name: tuple(words.split()) for name, words in _WORKSTATION.items()},
    **{f"RTX-{name.replace(' ', '-')}": ("RTX", *name.split()) for name in _GEFORCE},
}
#: Those with several sizes of memory that users ask for by name; in GB, as they are sold.
_SIZES = {"A100": (40, 80), "V100": (16, 32), "H100": (80, 94)}
#: Served by these models, too, where none of its own is left.
_ALSO = {"H100": ("H200",), "A10": ("A10G",), "B200+": ("B300",)}
#: How much less than it is sold with a device may report: ECC and the driver take their part.
_TOLERANCE = 0.08

PROFILE = re.compile(r"\d+g\.\d+gb(?:\+\w+)?")
_SIZED = re.compile(r"(.+)-(\d+)GB")


class Described(Protocol):
    """What is looked at in a device."""

    @property
    def model(self) -> str: ...
    @property
    def memory_mib(self) -> int: ...
    @property
    def profile(self) -> str: ...  # of a MIG instance: "1g.10gb"


def known() -> list[str]:
    """Every model that can be asked for, sizes among them."""
    sized = [f"{model}-{size}GB" for model, sizes in _SIZES.items() for size in sizes]
    return sorted({*_WORDS, *sized, "H100!", "B200+", ANY})


def is_known(model: str) -> bool:
    """Whether a model, without ``!`` and ``+``, is one that there is; of any size."""
    sized = _SIZED.fullmatch(model)
    return (sized[1] if sized else model) in _WORDS


def model_of(product: str) -> str:
    """The model of a device by NVML's product name; of one that is not listed, its own words."""
    words = tuple(re.split(r"[\s\-/]+", product.upper()))
    found = ""
    length = 0
    for model, wanted in _WORDS.items():
        spans = range(len(words) - len(wanted) + 1)
        if len(wanted) > length and any(words[i : i + len(wanted)] == wanted for i in spans):
            found, length = model, len(wanted)
    if found:
        return found
    own = [word for word in words if word not in ("NVIDIA", "TESLA", "GEFORCE", "QUADRO")]
    return "-".join(own) or "GPU"


def serves(device: Described, model: str) -> int | None:
    """How well a device serves a request for a model: 0 for that model, 1 for one in its place.

    None where it does not. A MIG instance serves its profile alone, and shares of any size
    (placement asks for these by their memory).
    """
    if PROFILE.fullmatch(model):
        return 0 if device.profile == model else None
    if device.profile:
        return None
    return _serves_as(device.model, device.memory_mib, model)


def may_share(device: Described, model: str) -> int | None:
    """The same for a share of a device: an instance counts as the device that it is a part of."""
    return _serves_as(device.model, device.memory_mib if not device.profile else 0, model)


@functools.lru_cache(maxsize=4096)
def _serves_as(own: str, memory_mib: int, model: str) -> int | None:
    if model == ANY:
        return 0
    exact = model.endswith("!")
    name = model.rstrip("!+")
    if sized := _SIZED.fullmatch(name):
        nominal = int(sized[2])
        near = abs(memory_mib / 1024 - nominal) <= _TOLERANCE * nominal
        return 0 if own == sized[1] and near else None
    if own == name:
        return 0
    return 1 if not exact and own in _ALSO.get(model, ()) else None
