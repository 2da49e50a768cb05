"""The manifest: what a snapshot is, what it was made from, and what its files must look like.

JSON, written once when the snapshot is committed, strict when read: anything unexpected is a
SnapshotInvalidError that says what.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot.key import Ingredients

FORMAT = 1


@dataclass(frozen=True)
class ImageFile:
    """One file of the images: size in bytes, and xxh3 (128 bits, hex) of its content."""

    size: int
    xxh3: str


@dataclass(frozen=True)
class LoadedFile:
    """A file that the frozen process has mapped or imported; it must still be the same."""

    size: int
    mtime_ns: int


@dataclass(kw_only=True)
class Manifest:
    """All there is to know about a snapshot without reading its images.

    Times are CLOCK_REALTIME seconds (``created``) or nanoseconds; sizes are bytes.
    """

    key: str
    app: str
    function: str
    ingredients: Ingredients
    created: float
    criu_version: str
    leash: str = ""  # the pipe that the template was parked on: "pipe:[INODE]"
    pid: int = 0  # of the template in its own PID namespace
    monotonic_ns: int = 0  # CLOCK_MONOTONIC at the dump, as the template saw it
    realtime_ns: int = 0
    dump_ms: float = 0.0
    pages_bytes: int = 0
    threads: int = 1
    notes: list[str] = field(default_factory=list)
    made_because: list[str] = field(default_factory=list)
    files: dict[str, ImageFile] = field(default_factory=dict)  # filled in by the store
    loaded_files: dict[str, LoadedFile] = field(default_factory=dict)

    @property
    def images_bytes(self) -> int:
        """Size of all image files together."""
        return sum(item.size for item in self.files.values())

    def to_json(self) -> str:
        """The text that is stored."""
        raw = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("ingredients", "files", "loaded_files")
        }
        raw["format"] = FORMAT
        raw["ingredients"] = self.ingredients.to_dict()
        raw["files"] = {name: [item.size, item.xxh3] for name, item in self.files.items()}
        raw["loaded_files"] = {
            path: [item.size, item.mtime_ns] for path, item in self.loaded_files.items()
        }
        return json.dumps(raw, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The inverse of ``to_json``. Raises SnapshotInvalidError, saying what is wrong."""
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise SnapshotInvalidError(f"its manifest is not JSON: {error}") from None
        if not isinstance(raw, dict):
            raise SnapshotInvalidError("its manifest is not a JSON object")
        if raw.get("format") != FORMAT or isinstance(raw["format"], bool):
            raise SnapshotInvalidError(
                f"its manifest has format {raw.get('format')!r}, this rekindle reads {FORMAT}"
            )
        values = {name: _typed(raw, name, wanted) for name, wanted in _FIELDS.items()}
        values["ingredients"] = Ingredients.from_dict(_typed(raw, "ingredients", dict))
        values["files"] = {
            _plain_name(name): ImageFile(*_pair(item, str, f"file {name!r}"))
            for name, item in _typed(raw, "files", dict).items()
        }
        values["loaded_files"] = {
            path: LoadedFile(*_pair(item, int, f"loaded file {path!r}"))
            for path, item in _typed(raw, "loaded_files", dict).items()
        }
        return cls(**values)


_NUMBER = (int, float)
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "key": str,
    "app": str,
    "function": str,
    "created": _NUMBER,
    "criu_version": str,
    "leash": str,
    "pid": int,
    "monotonic_ns": int,
    "realtime_ns": int,
    "dump_ms": _NUMBER,
    "pages_bytes": int,
    "threads": int,
    "notes": list,
    "made_because": list,
}


def _typed(raw: dict[str, Any], name: str, wanted: type | tuple[type, ...]) -> Any:
    value = raw.get(name)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise SnapshotInvalidError(f"its manifest's {name!r} is missing or malformed")
    return value


def _plain_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise SnapshotInvalidError(f"its manifest names a file outside the images: {name!r}")
    return name


def _pair(item: object, second: type, what: str) -> tuple[int, Any]:
    if (
        isinstance(item, list)
        and len(item) == 2
        and isinstance(item[0], int)
        and isinstance(item[1], second)
    ):
        return item[0], item[1]
    raise SnapshotInvalidError(f"its manifest's entry for {what} is malformed")
