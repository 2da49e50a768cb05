"""Layers that the store has damaged, found before anything runs in them: the same start goes on."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.blobs import transfer
from rekindle.blobs.store import BlobStore, Ref, open_store
from tests import images
from tests.blobs.machine import needs_fuse
from tests.e2e.harness import Home, a_home, wait_until

pytestmark = [*images.BUILDS, needs_fuse]

_PROGRAM = """
    import os
    import rekindle

    image = (
        rekindle.Image.debian_slim("3.13")
        .run_commands("echo 1 > /one")
        .run_commands("head -c 3000000 /dev/urandom > /large; sha256sum < /large > /sum")
    )
    app = rekindle.App("from-a-damaged-store", image=image)

    @app.function()
    def look():
        import hashlib
        with open("/large", "rb") as file:
            is_whole = hashlib.sha256(file.read()).hexdigest() == open("/sum").read().split()[0]
        return open("/one").read() + str(is_whole)

    @app.local_entrypoint()
    def main():
        print(look.spawn().get() if os.environ.get("SPAWNED") else look.remote())
"""


@pytest.fixture(scope="module")
def first() -> Iterator[Home]:
    """A node that has put an image into a store, in its folder ``store``; it is down."""
    with a_home() as made:
        made.environ |= {
            "REKINDLE_IMAGES": str(made.root / "images"),
            "REKINDLE_STORE_URL": (made.root / "store").as_uri(),
        }
        images.own_base(made.root / "images")
        made.up()
        assert made.run(made.script(_PROGRAM)).out.splitlines() == ["1", "True"]
        store = open_store(made.environ["REKINDLE_STORE_URL"])
        wait_until(lambda: len(list(store.refs())) == 3, "the layers to be in the store")
        made.rekindle("down")
        yield made


def _flip(place: Path) -> None:
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)


_HOW = {"lost": Path.unlink, "flipped": _flip}


def _damage(store: BlobStore, folder: Path, what: str | slice) -> list[Ref]:
    """Damage the two layers above the base: their indexes, or some of their chunks."""
    refs = {ref.about["layer"]["title"]: ref for ref in store.refs()}
    base = refs.pop("debian_slim('3.13')")
    shared = set(store.index(base.blobs[0]).chunks)
    for ref in refs.values():
        blob = ref.blobs[0]
        if isinstance(what, str):
            _HOW[what](folder / "blobs" / blob[:2] / blob)
            continue
        for name in set(store.index(blob).chunks[what]) - shared:
            if (place := folder / "chunks" / name[:2] / name).exists():  # not all zeros
                _flip(place)
        shared |= set(store.index(blob).chunks)  # no chunk is flipped twice
    return list(refs.values())


@pytest.mark.parametrize(
    ("what", "environ"),
    [
        ("lost", {}),
        ("flipped", {"SPAWNED": "1"}),
        (
            slice(0, 1),
            {"SPAWNED": "1"},
        ),  # in which the names of files are: found when it is mounted
        (slice(0, None), {}),
        (slice(0, None), {"REKINDLE_LAZY_BYTES": "0"}),  # found when it is fetched
    ],
    ids=["lost", "flipped", "first", "every", "whole"],
)
def test_layers_that_are_damaged_before_anything_runs_in_them_are_built_by_the_same_start(
    first: Home, tmp_path: Path, what: str | slice, environ: dict[str, str]
) -> None:
    shutil.copytree(first.root / "store", tmp_path / "store")
    store = open_store((tmp_path / "store").as_uri())
    damaged = _damage(store, tmp_path / "store", what)
    second = {
        "REKINDLE_HOME": tempfile.mkdtemp(dir=first.root),  # short: sockets must fit
        "REKINDLE_IMAGES": str(tmp_path / "images"),
        "REKINDLE_STORE_URL": store.url,
        **environ,
    }
    first.up(**second)
    try:
        ended = first.run(first.scripts / "script.py", **second)
        said = ended.out + ended.err
        assert ended.out.splitlines()[-2:] == ["1", "True"]
        known = {f"layer {ref.name[:12]} ({ref.about['layer']['title']})" for ref in damaged}
        # Of one at least: what stands on one that is built here is built here anyway.
        assert any(f"{one} could not be read" in said for one in known), said
        listed = json.loads(first.rekindle("image", "list", "--json", **second).out)
        packing = {one["name"]: one["packing"] for one in listed}
        assert [packing[ref.name] for ref in damaged] == ["", ""]
        # What was built in their place is what others get from now on.
        for ref in damaged:
            wait_until(
                lambda ref=ref: store.ref("layers", ref.name).blobs != ref.blobs,  # type: ignore[misc]
                "the layer that was built anew to be in the store",
            )
    finally:
        first.rekindle("down", **second)


def test_who_meets_damage_mends_it_though_its_instance_ends_with_it(
    first: Home, tmp_path: Path
) -> None:
    shutil.copytree(first.root / "store", tmp_path / "store")
    store = open_store((tmp_path / "store").as_uri())
    damaged = _damage(store, tmp_path / "store", slice(0, None))
    second = {
        "REKINDLE_HOME": tempfile.mkdtemp(dir=first.root),  # short: sockets must fit
        "REKINDLE_IMAGES": str(tmp_path / "images"),
        "REKINDLE_STORE_URL": store.url,
    }
    ended = first.run(first.scripts / "script.py", **second)  # of an instance of its own
    assert ended.out.splitlines()[-2:] == ["1", "True"]
    for ref in damaged:
        mended = store.ref("layers", ref.name)
        assert mended is not None and mended.blobs != ref.blobs
        for blob in mended.blobs:
            transfer.fetch(store, blob, tmp_path / blob)
