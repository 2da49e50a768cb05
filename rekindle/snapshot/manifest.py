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

#: Raised whenever what is written changes; a snapshot of another format is made anew.
FORMAT = 4

#: In a snapshot's directory: the images as CRIU dumped them, and those rewritten to map memory.
IMAGES = "images"
MAPPED = "mapped"


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
    control_pipe: str = ""  # the pipe that the template was parked on: "pipe:[INODE]"
    pid: int = 0  # of the template in its own PID namespace
    monotonic_ns: int = 0  # CLOCK_MONOTONIC at the dump, as the template saw it
    realtime_ns: int = 0
    dump_ms: float = 0.0
    commit_ms: float = 0.0  # mapping, hashing and syncing
    pages_bytes: int = 0
    threads: int = 1
    #: Why what is restored from it may not be forked, as was seen when it parked.
    fork_unsafe: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    made_because: list[str] = field(default_factory=list)
    # Filled in by the store.
    files: dict[str, ImageFile] = field(default_factory=dict)  # in images/
    #: What the mapping did (``mapped.rewrite.Rewritten``), and ``page_files_at``: the directory
    #: under which the mapped images name the page files. Empty when there are no mapped images.
    mapping: dict[str, Any] = field(default_factory=dict)
    not_mapped: str = ""  # why there are none
    mapped_files: dict[str, ImageFile] = field(default_factory=dict)  # in mapped/ alone
    mapped_links: list[str] = field(default_factory=list)  # in mapped/, the same file as in images/
    loaded_files: dict[str, LoadedFile] = field(default_factory=dict)

    @property
    def images_bytes(self) -> int:
        """Size of all image files together."""
        return sum(item.size for item in self.files.values())

    @property
    def content(self) -> dict[str, ImageFile]:
        """Every file, once, by its path in the snapshot's directory."""
        return {
            **{f"{IMAGES}/{name}": item for name, item in self.files.items()},
            **{f"{MAPPED}/{name}": item for name, item in self.mapped_files.items()},
        }

    def to_json(self) -> str:
        """The text that is stored."""
        raw = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("ingredients", "files", "mapped_files", "loaded_files")
        }
        raw["format"] = FORMAT
        raw["ingredients"] = self.ingredients.to_dict()
        for part in ("files", "mapped_files"):
            described: dict[str, ImageFile] = getattr(self, part)
            raw[part] = {name: [item.size, item.xxh3] for name, item in described.items()}
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
        for part in ("files", "mapped_files"):
            values[part] = {
                _plain_name(name): ImageFile(*_pair(item, str, f"file {name!r}"))
                for name, item in _typed(raw, part, dict).items()
            }
        values["mapped_links"] = [_plain_name(n) for n in _typed(raw, "mapped_links", list)]
        values["mapping"] = _mapping(_typed(raw, "mapping", dict))
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
    "control_pipe": str,
    "pid": int,
    "monotonic_ns": int,
    "realtime_ns": int,
    "dump_ms": _NUMBER,
    "commit_ms": _NUMBER,
    "pages_bytes": int,
    "threads": int,
    "fork_unsafe": list,
    "notes": list,
    "made_because": list,
    "not_mapped": str,
}
#: What a mapping holds at least; the rest is for the reader.
_MAPPING: dict[str, type] = {
    "page_files_at": str,
    "layout": str,
    "areas": int,
    "mapped_bytes": int,
    "copied_bytes": int,
    "written_bytes": int,
}


def _typed(raw: dict[str, Any], name: str, wanted: type | tuple[type, ...]) -> Any:
    value = raw.get(name)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise SnapshotInvalidError(f"its manifest's {name!r} is missing or malformed")
    return value


def _mapping(raw: dict[str, Any]) -> dict[str, Any]:
    if raw:
        for name, wanted in _MAPPING.items():
            _typed(raw, name, wanted)
    return raw


def _plain_name(name: object) -> str:
    if not isinstance(name, str) or not name or "/" in name or name.startswith("."):
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
