"""The first answer in an image with PyTorch, on nodes that have nothing: lazy, whole, as it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import unwell
from lab.programs import said_by
from rekindle import Image, filesystems
from rekindle.blobs import transfer
from rekindle.blobs.index import CHUNK_BYTES
from rekindle.blobs.store import HINTS, BlobStore, open_store
from rekindle.runtime.images.builder import ensure
from rekindle.runtime.images.sharing import KIND
from rekindle.runtime.images.store import PACKED, LayerStore
from rekindle.wire.images import names

_PROGRAM = Path(__file__).with_name("program.py")
_REKINDLE = Path(sys.executable).with_name("rekindle")
_PATIENCE_S = 900.0
#: Of the image: its base, and PyTorch.
LAYERS = 2
_LOOK_S = 0.1


@dataclass(frozen=True)
class Shared:
    """A store that has the image's layers."""

    folder: Path
    #: Layer -> its one file, as it is.
    raw: dict[str, Path]
    size: int

    @property
    def store(self) -> BlobStore:
        """As it is when nothing holds it up."""
        return open_store(self.folder.as_uri())

    def received(self) -> int:
        """Bytes of the chunks that first starts are known to touch, as they come over the wire."""
        total = 0
        for ref in self.store.refs():
            for blob in ref.blobs:
                index = self.store.index(blob)
                names = {index.chunks[number] for number in self.store.hint(blob)}
                places = (self.folder / "chunks" / name[:2] / name for name in names)
                total += sum(place.stat().st_size for place in places if place.exists())
        return total


class Node:
    """A machine's worth of rekindle: a home and layers of its own."""

    def __init__(self, scratch: Path, url: str, **environ: str) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="n", dir=scratch))
        self.images = self.place / "images"
        self.environ = {
            **os.environ,
            "REKINDLE_HOME": str(self.place / "home"),
            "REKINDLE_IMAGES": str(self.images),
            "REKINDLE_STORE_URL": url,
            **environ,
        }

    def first_answer(self) -> dict[str, Any]:
        """What a program says that calls the function once."""
        return said_by(_PROGRAM, environ=self.environ, timeout_s=_PATIENCE_S)

    @contextlib.contextmanager
    def up(self) -> Iterator[Node]:
        """While its instance is up; nothing is left of it afterwards."""
        try:
            self._run("up")
            yield self
        finally:
            self._run("down")
            shutil.rmtree(self.place, ignore_errors=True)

    def _run(self, word: str) -> None:
        subprocess.run([_REKINDLE, word], env=self.environ, stdout=subprocess.DEVNULL, check=True)


def share(scratch: Path, kept: Path) -> Shared:
    """Build the image on a node that puts it into a store; ``kept``: where bases are kept."""
    folder = scratch / "store"
    folder.mkdir()
    shared = Shared(folder, {}, 0)
    node = Node(scratch, folder.as_uri())
    _take_over_base(kept, node.images)
    with node.up():
        node.first_answer()
        while len(refs := [ref for ref in shared.store.refs() if ref.kind == KIND]) < LAYERS:
            time.sleep(_LOOK_S)
    raw, size = {}, 0
    for ref in refs:
        raw[ref.name] = folder / f"{ref.name}.raw"
        transfer.fetch(shared.store, ref.blobs[0], raw[ref.name])
        size += raw[ref.name].stat().st_size
    return Shared(folder, raw, size)


def _take_over_base(kept: Path, place: Path) -> None:
    """The base as a layer of its own, whose files are those of the one that is kept."""
    base = Image.debian_slim()
    ensure(base.spec(), store=LayerStore(kept))
    (name,) = names(base.spec().steps)
    (place / "layers").mkdir(parents=True)
    subprocess.run(["cp", "-al", kept / "layers" / name, place / "layers" / name], check=True)


def lazy(scratch: Path, shared: Shared, *, record: bool = False) -> float:
    """On a node that has nothing; ``record``: and have it recorded what that touches."""
    with Node(scratch, unwell.url(shared.folder)).up() as node:
        took_s = float(node.first_answer()["s"])
        while record and len(list(shared.store.objects.list(HINTS))) < LAYERS:
            time.sleep(_LOOK_S)
        return took_s


def whole(scratch: Path, shared: Shared) -> float:
    """The same where all of the layers is fetched, compressed, before the first start."""
    with Node(scratch, unwell.url(shared.folder), REKINDLE_LAZY_BYTES="0").up() as node:
        return float(node.first_answer()["s"])


def as_it_is(scratch: Path, shared: Shared) -> float:
    """Seconds where the files of the layers are fetched as they are, and then used."""
    with Node(scratch, unwell.url(shared.folder)).up() as node:
        places = _records(shared, node)
        began = time.monotonic()
        for name, file in shared.raw.items():
            _fetch_raw(shared.folder, file, places[name] / PACKED)
        fetched_s = time.monotonic() - began
        return fetched_s + float(node.first_answer()["s"])


def all_here(scratch: Path, shared: Shared) -> float:
    """The same where nothing is to be fetched, and all is in memory."""
    with Node(scratch, unwell.url(shared.folder)).up() as node:
        for name, place in _records(shared, node).items():
            os.link(shared.raw[name], place / PACKED)
        return float(node.first_answer()["s"])


def _records(shared: Shared, node: Node) -> dict[str, Path]:
    """Have a node know the layers, as if they had come; their folders, without their files."""
    places = {}
    for ref in shared.store.refs():
        if ref.kind == KIND:
            places[ref.name] = node.images / "layers" / ref.name
            (places[ref.name] / "root").mkdir(parents=True)
            record = {**ref.about["layer"], "packing": ref.about["packing"]}
            (places[ref.name] / "layer.json").write_text(json.dumps(record))
    return places


def _fetch_raw(folder: Path, source: Path, target: Path) -> None:
    """The bytes as they are, in requests of a chunk, as many at a time as otherwise."""
    filesystem, _ = filesystems.open_url(unwell.url(folder), "the store")
    size = source.stat().st_size
    with open(target, "wb") as file, ThreadPoolExecutor(transfer.AT_ONCE) as threads:

        def get(at: int) -> None:
            data = filesystem.cat_file(str(source), at, min(at + CHUNK_BYTES, size))
            os.pwrite(file.fileno(), data, at)

        for done in [threads.submit(get, at) for at in range(0, size, CHUNK_BYTES)]:
            done.result()
