"""What a function asks for of GPUs, as it travels. Standard library only.

Knows nothing of devices: gpu_restore/models.py says which of them serve a request.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The model that every GPU is.
ANY = "any"


@dataclass(frozen=True, kw_only=True)
class GpuRequest:
    """One way in which a function can be served; a function lists them, the best first."""

    model: str  # "H100", "A100-80GB", "H100!", "B200+", "1g.10gb", "any"
    count: int = 1
    memory_mib: int = 0  # a share of one GPU, which others use too; 0: whole devices

    def __str__(self) -> str:
        if self.memory_mib:
            return f"{self.memory_mib} MiB of {self.model}"
        return self.model if self.count == 1 else f"{self.model}:{self.count}"


def in_words(wanted: tuple[GpuRequest, ...]) -> str:
    """For messages: ``H100:2 or A100``."""
    return " or ".join(map(str, wanted))
