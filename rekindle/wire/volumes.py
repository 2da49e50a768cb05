"""What a function says of a volume: where its runners have it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class VolumeMount:
    """A volume, or a store's folder, at a path of each runner."""

    path: str
    name: str = ""
    environment: str = ""
    url: str = ""  # of a store's folder, in place of a volume
    #: For the store's client. Compared, but not hashed, as a dict is not: mounts are parts of keys.
    options: dict[str, str] = field(default_factory=dict, hash=False)
    read_only: bool = False
    sub_path: str = ""

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"the volume {self.name!r}" if self.name else self.url
