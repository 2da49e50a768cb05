"""Layers that are built here get into the nodes' store, also where that was away when they were."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from rekindle.blobs.objects import open_objects
from rekindle.blobs.store import BlobStore, Patience
from rekindle.runtime.agent.starts.packed_files import PackedFiles
from rekindle.runtime.agent.starts.stored_layers import StoredLayers
from rekindle.runtime.images import sharing
from rekindle.runtime.images.built import BuiltImage
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.store import LayerStore
from tests import images

pytestmark = images.needs_root

_NAMES = ["a" * 32, "b" * 32]


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

    async def let_go(_places: list[str]) -> None:
        pass

    async def main() -> None:
        layers = StoredLayers(store, None, tmp_path, PackedFiles(), os.getpid(), let_go)
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
