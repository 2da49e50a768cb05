"""``import torch`` from a layer that a node does not have: lazy, whole, whole and compressed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import unwell
from rekindle import filesystems
from rekindle.blobs import erofs, transfer
from rekindle.blobs.index import CHUNK_BYTES
from rekindle.blobs.lazy.client import LazyFiles, Settings
from rekindle.blobs.objects import open_objects
from rekindle.blobs.store import BlobStore, open_store

#: The wheel and all that it imports.
PACKAGES = (
    *("torch", "torchgen", "functorch", "numpy", "numpy.libs", "sympy", "mpmath", "networkx"),
    *("jinja2", "markupsafe", "filelock", "fsspec", "typing_extensions.py"),
)
_PROGRAM = "import torch; assert float((torch.ones(3) + 1).sum()) == 6.0"
_BUDGET_BYTES = 8 << 30


@dataclass(frozen=True)
class Layer:
    """A layer in a store, and beside it as it is."""

    store: Path
    blob: str
    raw: Path
    size: int
    stored_bytes: int


@dataclass(frozen=True)
class Round:
    """Seconds from nothing to the first result, by the way; bytes of the lazy one."""

    warm: float
    raw: float
    compressed: float
    unrecorded: float
    lazy: float
    received_bytes: int
    touched_bytes: int


def make(scratch: Path) -> Layer:
    """Packed from this environment's packages, and pushed."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise SystemExit("bench/lazy.py needs PyTorch: make demo, or pip install torch")
    site = Path(spec.origin).parents[1]
    tree = scratch / "tree"
    tree.mkdir()
    for name in PACKAGES:
        if (site / name).exists():
            subprocess.run(["cp", "-al", str(site / name), str(tree / name)], check=True)
    store = scratch / "store"
    store.mkdir()
    raw = store / "layer"
    erofs.make(tree, raw)
    shutil.rmtree(tree)
    pushed = transfer.push(open_store(store.as_uri()), raw)
    return Layer(store, pushed.blob, raw, pushed.size, pushed.sent_bytes)


def measure(layer: Layer, conduct: unwell.Conduct, scratch: Path) -> Round:
    """Each way once."""
    place = Path(tempfile.mkdtemp(dir=scratch))
    conduct.begin(layer.store)
    store = BlobStore(open_objects(unwell.url(layer.store)))
    try:
        raw_s = _timed(lambda: _fetch_raw(layer, place / "raw"), place)
        compressed_s = _timed(lambda: _whole(store, layer.blob, place / "whole"), place)
        with _mounted(place / "whole", place / "warm"):
            _first_result(place / "warm")
            began = time.monotonic()
            _first_result(place / "warm")
            warm_s = time.monotonic() - began
        open_store(layer.store.as_uri()).objects.delete(f"hints/{layer.blob}")
        unrecorded_s, touched, _received = _lazy(layer, place / "first")
        open_store(layer.store.as_uri()).put_hint(layer.blob, touched)
        lazy_s, again, received = _lazy(layer, place / "second")
        return Round(
            *(warm_s, raw_s, compressed_s, unrecorded_s, lazy_s),
            received,
            len(again) * CHUNK_BYTES,
        )
    finally:
        shutil.rmtree(place)


def _timed(fetch: Callable[[], Path], place: Path) -> float:
    """Seconds until a file has been fetched, mounted and imported from."""
    began = time.monotonic()
    with _mounted(fetch(), place / "mounted"):
        _first_result(place / "mounted")
        return time.monotonic() - began


def _fetch_raw(layer: Layer, target: Path) -> Path:
    """The bytes as they are, in requests of a chunk, as many at a time as otherwise."""
    filesystem, _ = filesystems.open_url(unwell.url(layer.store), "the store")
    with open(target, "wb") as file, ThreadPoolExecutor(transfer.AT_ONCE) as threads:

        def get(at: int) -> None:
            data = filesystem.cat_file(str(layer.raw), at, min(at + CHUNK_BYTES, layer.size))
            os.pwrite(file.fileno(), data, at)

        for done in [threads.submit(get, at) for at in range(0, layer.size, CHUNK_BYTES)]:
            done.result()
    return target


def _whole(store: BlobStore, blob: str, target: Path) -> Path:
    transfer.fetch(store, blob, target)
    return target


def _lazy(layer: Layer, place: Path) -> tuple[float, list[int], int]:
    """Seconds, the chunks that were touched, and bytes over the wire until then."""
    settings = Settings(
        unwell.url(layer.store), str(place / "files"), str(place / "cache"), _BUDGET_BYTES
    )
    files = LazyFiles.start(settings)
    try:
        began = time.monotonic()
        with _mounted(files.open(layer.blob), place / "mounted"):
            _first_result(place / "mounted")
            took_s = time.monotonic() - began
            touched = files.touched(layer.blob)
        return took_s, touched.chunks, touched.received_bytes
    finally:
        files.close()


@contextlib.contextmanager
def _mounted(file: Path, place: Path) -> Iterator[None]:
    place.mkdir()
    erofs.mount(file, place)
    try:
        yield
    finally:
        erofs.unmount(place)
        place.rmdir()


def _first_result(packages: Path) -> None:
    """A new interpreter that has these packages alone."""
    environ = {"PYTHONPATH": str(packages), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    subprocess.run([str(base), "-s", "-B", "-c", _PROGRAM], env=environ, check=True)
