"""Where else than on this machine a layer is: in which store, as which blob. Standard library
only."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from rekindle.shown_url import without_password


@dataclass(frozen=True, kw_only=True)
class StoredLayer:
    """A layer in a store."""

    url: str  # of the store, without a password
    blob: str
    #: How its directory is one file: ``erofs`` or ``tar``.
    packing: str
    size: int  # of that file
    #: Directories that hide those of the layers below, as overlayfs marks them: who unpacks the
    #: file without being root has to mark them in another way.
    opaque: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As it is kept beside a layer."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_raw(cls, raw: dict[str, Any]) -> StoredLayer:
        """Raises KeyError, TypeError, ValueError for what is none."""
        return cls(
            url=without_password(str(raw["url"])),
            blob=str(raw["blob"]),
            packing=str(raw["packing"]),
            size=int(raw["size"]),
            opaque=tuple(map(str, raw.get("opaque", ()))),
        )

    @classmethod
    def from_json(cls, text: str) -> StoredLayer:
        """The inverse of ``to_json``. Raises as ``from_raw``."""
        return cls.from_raw(json.loads(text))
