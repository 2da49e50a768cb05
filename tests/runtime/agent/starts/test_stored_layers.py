"""Layers that are built here get into the nodes' store, also where that was away when they were."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rekindle.blobs import transfer
from rekindle.blobs.lazy.client import LazyFiles, Settings
from rekindle.blobs.objects import open_objects
from rekindle.blobs.store import BlobStore, Patience
from rekindle.runtime.agent.starts import stored_layers
from rekindle.runtime.agent.starts.packed_files import PackedFiles
from rekindle.runtime.agent.starts.stored_layers import StoredLayers
from rekindle.runtime.images import sharing
from rekindle.runtime.images.built import BuiltImage
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.store import LayerStore
from rekindle.runtime.images.stored import StoredLayer
from tests.blobs.machine import needs_fuse

_NAMES = ["a" * 32, "b" * 32]


def _begins(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(5)


def _image() -> BuiltImage:
    """Of two layers that this node has built."""
    local = LayerStore()
    for number, name in enumerate(_NAMES):
        draft = local.draft(name)
        (draft.root / "content").write_bytes(os.urandom(1 << 20))
        parent = {"parent": _NAMES[0], "parent_build": "build-0"} if number else {}
        local.publish(draft, Layer(name=name, build=f"build-{number}", title="step", **parent))
    lowers = tuple(local.place(name) for name in reversed(_NAMES))
    return BuiltImage("im-1", lowers, (), (), (), None, (), "/usr/bin/python3", "3.11", ())


def test_layers_that_a_store_was_away_for_are_there_soon_after_it_came_back(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "store"
    place.write_text("no folder: nothing can be put there")
    store = BlobStore(open_objects(place.as_uri()), Patience(attempts=1))

    async def main() -> None:
        layers = StoredLayers(store, None, tmp_path, PackedFiles(), os.getpid(), _let_go)
        await layers.have(_image(), lambda _said: None)
        async with asyncio.timeout(90):
            while "layers not pushed" not in caplog.messages:
                await asyncio.sleep(0.01)
            place.unlink()
            place.mkdir()
            while sharing.look(store, _NAMES).keys() != set(_NAMES):
                await asyncio.sleep(0.01)
        await layers.close()

    asyncio.run(main())
    assert [LayerStore().stored(name) is not None for name in _NAMES] == [True, True]


@dataclass
class _Coming:
    """A layer on its way from a store."""

    layers: StoredLayers
    lazy: LazyFiles
    image: BuiltImage
    place: Path
    blob: str


@asynccontextmanager
async def _coming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_Coming]:
    """One that is 8 MiB of anything, in a store in ``store``; it is not read yet."""
    monkeypatch.setattr(stored_layers, "_QUIET_S", 0.01)
    source = tmp_path / "source"
    (tmp_path / "store").mkdir()
    source.write_bytes(os.urandom(8 << 20))
    store = BlobStore(open_objects((tmp_path / "store").as_uri()), Patience(attempts=1))
    blob = transfer.push(store, source, chunk_bytes=1 << 16).blob
    name, local = _NAMES[0], LayerStore()
    stored = StoredLayer(url=store.url, blob=blob, packing="erofs", size=8 << 20)
    layer = Layer(name=name, build="build", title="step", packing="erofs")
    local.publish(local.draft(name), layer, stored)
    place = local.place(name)
    image = BuiltImage("im-1", (place,), (), (place,), (), None, (), "/usr/bin/python3", "3", ())
    lazy = LazyFiles.start(
        Settings(store.url, str(tmp_path / "mount"), str(tmp_path / "lazy"), 10 << 20)
    )
    try:
        layers = StoredLayers(store, lazy, tmp_path, PackedFiles(), os.getpid(), _let_go)
        await layers.have(image, lambda _said: None)
        async with asyncio.timeout(90):
            yield _Coming(layers, lazy, image, place, blob)
    finally:
        await asyncio.to_thread(lazy.close)
        await layers.close()


async def _let_go(_places: list[str]) -> None:
    pass


@needs_fuse
def test_a_layer_of_which_the_store_has_lost_a_part_is_none_before_anybody_reads_that_part(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with _coming(tmp_path, monkeypatch) as one:
            assert one.layers.blobs is not None
            lost = one.layers.blobs.index(one.blob).chunks[-1]
            (tmp_path / "store" / "chunks" / lost[:2] / lost).unlink()
            packed = one.layers.packed
            lazily = packed.arriving[str(one.place)]
            assert await asyncio.to_thread(_begins, lazily) == _begins(tmp_path / "source")
            while not one.layers.is_lost(one.image):
                await asyncio.sleep(0.01)
            assert lost in one.layers.why_lost(one.image)
            assert str(one.place) not in packed.arriving
            assert LayerStore().is_damaged(_NAMES[0], one.blob)
            assert LayerStore().get(_NAMES[0]) is None

    asyncio.run(main())


@needs_fuse
def test_a_layer_that_there_is_no_room_for_becomes_an_ordinary_file_once_there_is(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stored_layers, "_AGAIN_S", 0.01)

    async def main() -> None:
        async with _coming(tmp_path, monkeypatch) as one:
            packed, lazily = LayerStore().packed(_NAMES[0]), one.layers.packed.arriving
            packed.mkdir()  # nothing can be put there
            await asyncio.to_thread(_begins, lazily[str(one.place)])
            while "layer did not arrive" not in caplog.messages:
                await asyncio.sleep(0.01)
            assert str(one.place) in lazily  # as long as it is read from there
            packed.rmdir()
            while not packed.is_file() or str(one.place) in lazily:
                await asyncio.sleep(0.01)
            assert packed.read_bytes() == (tmp_path / "source").read_bytes()

    asyncio.run(main())
