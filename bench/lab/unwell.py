"""A folder as a store of objects that is slow, fails or stalls, as a file in it says.

``unwell:///folder``, or ``unwell://user:password@/folder``, is a URL of fsspec in every process
that has what ``environment`` gives in its environment: fsspec finds it as it finds other packages'
file systems, by their metadata. What the store is to do is in ``.conduct.json`` (``Conduct``), and
read anew for each request. All requests of a process share its bandwidth; how long one takes to
be answered they do not.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

_CONDUCT = ".conduct.json"
_STALL_LOOK_S = 0.02


@dataclass(frozen=True)
class Conduct:
    """How the store behaves when it is read from."""

    bytes_per_s: float = 0.0  # 0: as fast as it goes
    latency_s: float = 0.0
    #: Of so many requests one fails; 0: none.
    fail_one_in: int = 0
    #: All fail.
    down: bool = False
    #: None is answered for as long as this holds.
    stalled: bool = False
    #: Nor is one for an object of such a name: the last part of its path.
    stalls_on: tuple[str, ...] = ()
    #: So many answers have a flipped bit from now on.
    flips: int = 0

    def begin(self, folder: Path) -> None:
        """Have the store in a folder behave so from now on, in all processes."""
        draft = folder / f"{_CONDUCT}.{os.getpid()}"
        draft.write_text(json.dumps(dataclasses.asdict(self)))
        os.replace(draft, folder / _CONDUCT)


def url(folder: Path) -> str:
    """Of the store in a folder."""
    return f"unwell://{folder}"


def environment(scratch: Path) -> dict[str, str]:
    """What processes need in their environment to know such URLs."""
    about = scratch / "unwell-0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: unwell\nVersion: 0\n")
    (about / "entry_points.txt").write_text(
        "[fsspec.specs]\nunwell = lab.unwell.UnwellFileSystem\n"
    )
    paths = [str(Path(__file__).parents[1]), str(scratch), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def register(scratch: Path) -> None:
    """Have this process, and those that it starts, know such URLs."""
    os.environ.update(environment(scratch))
    fsspec.register_implementation("unwell", UnwellFileSystem, clobber=True)


class _Wire:
    """The bandwidth of this process, and its count of requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free_at = 0.0
        self.requests = 0
        self.flipped = 0

    def count(self) -> int:
        with self._lock:
            self.requests += 1
            return self.requests

    def carry(self, count: int, conduct: Conduct) -> None:
        """Take as long as so many bytes take."""
        now = time.monotonic()
        done_at = now
        if conduct.bytes_per_s:
            with self._lock:
                self._free_at = max(now, self._free_at) + count / conduct.bytes_per_s
                done_at = self._free_at
        pause_s = done_at + conduct.latency_s - now
        if pause_s > 0:
            time.sleep(pause_s)


_WIRE = _Wire()


class UnwellFileSystem(LocalFileSystem):  # type: ignore[misc]
    """See the module."""

    protocol = "unwell"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        if path.startswith("unwell://"):  # a user and a password are taken, and not looked at
            path = path[path.index("/", len("unwell://")) :]
        return str(LocalFileSystem._strip_protocol(path))

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_options: Any
    ) -> bytes:
        """One request."""
        place = Path(self._strip_protocol(path))
        conduct = self._conduct(place)
        while conduct.stalled or place.name in conduct.stalls_on:
            time.sleep(_STALL_LOOK_S)
            conduct = self._conduct(place)
        number = _WIRE.count()
        if conduct.down or (conduct.fail_one_in and number % conduct.fail_one_in == 0):
            raise OSError(f"the store is unwell: request {number}")
        with open(place, "rb") as file:
            file.seek(start or 0)
            data = file.read(-1 if end is None else end - (start or 0))
        _WIRE.carry(len(data), conduct)
        if "/chunks/" in str(place) and _WIRE.flipped < conduct.flips:
            _WIRE.flipped += 1
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        return data

    def _conduct(self, place: Path) -> Conduct:
        for folder in place.parents:
            try:
                return Conduct(**json.loads((folder / _CONDUCT).read_text()))
            except FileNotFoundError:
                continue
        return Conduct()
