"""The manifest: what a snapshot is, what it was made from, and what its files must look like.

JSON, written once when the snapshot is committed, strict when read: anything unexpected is a
SnapshotInvalidError that says what.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot.key import Ingredients

#: Raised whenever what is written changes; a snapshot of another format is made again.
FORMAT = 7

#: In a snapshot's directory: the images as CRIU dumped them, and those rewritten to map memory.
IMAGES = "images"
MAPPED = "mapped"


class ImageFile(NamedTuple):
    """One file of the images: size in bytes, and xxh3 (128 bits, hex) of its content."""

    size: int
    xxh3: str


class LoadedFile(NamedTuple):
    """A file that the frozen process has mapped or imported; it must still be the same."""

    size: int
    mtime_ns: int


@dataclass(kw_only=True)
class Manifest:
    """All there is to know about a snapshot without reading its images.

    ``created`` is in seconds of CLOCK_REALTIME; sizes are bytes.
    """

    key: str
    app: str
    function: str
    ingredients: Ingredients
    created: float
    control_pipe: str = ""  # the pipe that the template was parked on: "pipe:[INODE]"
    pid: int = 0  # of the template in its own PID namespace
    dump_ms: float = 0.0
    commit_ms: float = 0.0  # mapping, hashing and syncing
    pages_bytes: int = 0
    threads: int = 1
    #: Why what is restored from it may not be forked, as was seen when it parked.
    fork_unsafe: list[str] = field(default_factory=list)
    #: Of a GPU snapshot: UUIDs of the GPUs that the process had, the kind of each.
    gpus: list[str] = field(default_factory=list)
    gpu_kinds: list[str] = field(default_factory=list)
    machine_gpus: list[str] = field(default_factory=list)  # all that its machine had
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
        plain = {"format": FORMAT, **vars(self), "ingredients": vars(self.ingredients)}
        return json.dumps(plain, separators=(",", ":"))

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
        made = cls(**_values(get_type_hints(cls), raw))
        for name in (*made.files, *made.mapped_files, *made.mapped_links):
            if not name or "/" in name or name.startswith("."):
                raise SnapshotInvalidError(
                    f"its manifest names a file outside the images: {name!r}"
                )
        if made.mapping:
            _values(_MAPPING, made.mapping)
        return made


#: What a mapping holds at least; the rest is for the reader.
_MAPPING = {
    "page_files_at": str,
    "layout": str,
    "areas": int,
    "mapped_bytes": int,
    "copied_bytes": int,
    "written_bytes": int,
}


def _values(wanted: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are ``wanted``, by name and type. Raises SnapshotInvalidError."""
    values = {}
    for name, hint in wanted.items():
        try:
            values[name] = _reader(hint)(raw[name])
        except (KeyError, TypeError, ValueError):
            raise SnapshotInvalidError(f"its manifest's {name!r} is missing or malformed") from None
    return values


@functools.cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """Makes a value of a field's type from plain JSON; TypeError or ValueError for any other."""
    kind, inside = get_origin(hint) or hint, get_args(hint)
    if hint is Any:
        return lambda raw: raw
    if kind is Ingredients:
        return lambda raw: Ingredients(**_values(get_type_hints(Ingredients), _a(dict, raw)))
    if kind is dict:
        read = _reader(inside[1])
        return lambda raw: {name: read(one) for name, one in _a(dict, raw).items()}
    if kind in (list, tuple):
        read = _reader(inside[0])
        return lambda raw: kind(map(read, _a(list, raw)))
    if issubclass(kind, tuple):
        types = list(get_type_hints(kind).values())
        return lambda raw: kind(*(_a(one, part) for one, part in zip(types, raw, strict=True)))
    return functools.partial(_a, kind)


def _a(kind: type, raw: Any) -> Any:
    if type(raw) is not kind and not (kind is float and type(raw) is int):
        raise TypeError
    return raw
