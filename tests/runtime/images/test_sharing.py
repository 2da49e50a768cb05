"""Layers that nodes share: what is put into a store, what is found there, and what of it stays."""

from __future__ import annotations

import dataclasses
import random
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rekindle.blobs import erofs, transfer
from rekindle.blobs.store import BlobStore, open_store
from rekindle.exception import ImageError, SetupError
from rekindle.runtime.images import layer_gc, sharing
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.store import LayerStore, mounted
from rekindle.runtime.images.stored_chain import StoredChain
from tests import exhausted
from tests.blobs.machine import needs_erofs

#: Of this run alone: mounts of every process of the machine are looked through for them.
_BASE, _ABOVE = secrets.token_hex(16), secrets.token_hex(16)
_CONTENT = random.Random(5).randbytes(4 << 20)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return open_store((tmp_path / "store").as_uri())


def _with(local: LayerStore, layer: Layer) -> Layer:
    """A layer of a machine, whose one file says which build it is."""
    draft = local.draft(layer.name)
    (draft.root / "build").write_text(layer.build)
    (draft.root / "content").write_bytes(_CONTENT)  # the same, whoever builds it
    local.publish(draft, layer)
    return layer


def _base(build: str) -> Layer:
    return Layer(name=_BASE, build=build, title="the base", created_s=1.0)


def test_a_layer_is_an_archive_where_there_is_no_mkfs_erofs(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_program: str = "") -> list[str]:
        raise SetupError("no mkfs.erofs")

    monkeypatch.setattr(erofs, "find", none)
    one, other = LayerStore(tmp_path / "one"), LayerStore(tmp_path / "other")
    _with(one, _base("0"))
    assert sharing.push(store, one, _BASE, tmp_path / "scratch")
    noted = one.stored(_BASE)
    assert noted is not None and (noted.url, noted.packing) == (store.url, "tar")
    said: list[str] = []
    (found,) = sharing.look(store, [_BASE, _ABOVE]).values()
    layer = sharing.adopt(store, other, found, said.append)
    assert layer.packing == "" and (other.place(_BASE) / "build").read_text() == "0"
    assert other.stored(_BASE) == noted
    assert "fetched whole and unpacked" in said[0]
    assert not any((other.root / "drafts").iterdir())


def test_the_first_build_stays_and_what_stands_on_another_is_not_put_there(
    store: BlobStore, tmp_path: Path
) -> None:
    one, other = LayerStore(tmp_path / "one"), LayerStore(tmp_path / "other")
    _with(one, _base("1"))
    _with(other, _base("2"))
    above = Layer(name=_ABOVE, build="3", parent=_BASE, parent_build="2", title="a step")
    _with(other, above)
    scratch = tmp_path / "scratch"
    assert sharing.push(store, one, _BASE, scratch)
    assert not sharing.push(store, other, _BASE, scratch)
    assert not sharing.push(store, other, _ABOVE, scratch)
    assert [one.layer.build for one in sharing.look(store, [_BASE, _ABOVE]).values()] == ["1"]
    # One that was built although there was one takes its place, and what stands on it comes.
    _with(other, dataclasses.replace(_base("2"), forced=True, created_s=2.0))
    assert sharing.push(store, other, _BASE, scratch)
    assert sharing.push(store, other, _ABOVE, scratch)
    found = sharing.look(store, [_BASE, _ABOVE])
    assert found[_ABOVE].layer.parent_build == found[_BASE].layer.build == "2"


@needs_erofs
@pytest.mark.usefixtures("unwell_urls")
def test_the_password_of_a_store_is_kept_with_no_layer_and_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("REKINDLE_STORE_URL", f"unwell://someone:swordfish@{tmp_path}/store")
    store = sharing.of_environment()
    assert store is not None
    one, other = LayerStore(tmp_path / "one"), LayerStore(tmp_path / "other")
    _with(one, _base("1"))
    assert sharing.push(store, one, _BASE, tmp_path / "scratch")
    (found,) = sharing.look(store, [_BASE]).values()
    layer = sharing.adopt(store, other, found, lambda _line: None)
    noted = other.place(_BASE).with_name("stored.json")
    assert "unwell://someone:***@" in noted.read_text() and "swordfish" not in noted.read_text()
    opened: list[str] = []
    monkeypatch.setattr(sharing.transfer, "fetch", _noting(opened))
    assert sharing.have_whole(other, layer).exists()
    assert opened == [store.address]


def _noting(opened: list[str]) -> Callable[..., None]:
    def fetch(store: BlobStore, *args: Any, **more: Any) -> None:
        opened.append(store.address)
        transfer_fetch(store, *args, **more)

    transfer_fetch = transfer.fetch
    return fetch


_MOUNT = """
import sys
from pathlib import Path
from rekindle.blobs import erofs
from rekindle.linux import mounts, namespaces
namespaces.unshare(namespaces.CLONE_NEWNS)
mounts.make_private()
erofs.mount(Path(sys.argv[1]), Path(sys.argv[2]))
print("mounted", flush=True)
sys.stdin.read()
"""


@needs_erofs
def test_a_layer_of_the_store_takes_what_is_here_of_it_and_stays_while_it_is_mounted(
    store: BlobStore, tmp_path: Path
) -> None:
    one, other = LayerStore(tmp_path / "one"), LayerStore(tmp_path / "other")
    _with(one, dataclasses.replace(_base("1"), size_bytes=12345))
    assert sharing.push(store, one, _BASE, tmp_path / "scratch")
    (found,) = sharing.look(store, [_BASE]).values()
    layer = sharing.adopt(store, other, found, lambda _line: None)
    assert layer_gc.usage(other).size_bytes == other.local_bytes(layer) == 0
    file = sharing.have_whole(other, layer)
    assert layer_gc.usage(other).size_bytes == file.stat().st_blocks * 512 > 0
    # In a mount namespace of its own: no process that a test beside this one starts has it, too.
    with subprocess.Popen(
        [sys.executable, "-c", _MOUNT, str(file), str(other.place(_BASE))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mounted\n"
        assert mounted([_BASE]) == {_BASE}
        assert layer_gc.collect(other, 0) == []
        with pytest.raises(ImageError, match="in use"):
            other.remove(_BASE)
        holder.communicate()
    assert [gone.name for gone in layer_gc.collect(other, 0)] == [_BASE]
    assert other.get(_BASE) is None


def _flip(store: BlobStore, blob: str) -> None:
    """Damage every chunk of a blob."""
    for name in store.index(blob).chunks:
        place = Path(store.url.removeprefix("file://")) / "chunks" / name[:2] / name
        if place.exists():  # not all zeros
            data = bytearray(place.read_bytes())
            data[len(data) // 2] ^= 1
            place.write_bytes(data)


def test_a_layer_that_the_store_has_damaged_is_not_taken_from_there_again_and_is_put_there_anew(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_STORE_URL", store.url)
    scratch = tmp_path / "scratch"
    one, other = LayerStore(tmp_path / "one"), LayerStore(tmp_path / "other")
    _with(one, _base("1"))
    assert sharing.push(store, one, _BASE, scratch)
    (found,) = sharing.look(store, [_BASE]).values()
    _flip(store, found.stored.blob)
    said: list[str] = []
    brought = StoredChain(other, [_BASE], said.append).bring(_BASE, None, said.append)
    if brought is not None:  # mounted later, where this machine can
        with pytest.raises(ImageError, match=r"is damaged in .* built here the next time"):
            sharing.have_whole(other, brought)
    assert other.get(_BASE) is None
    # Another process, later: the store still has it.
    assert set(sharing.look(store, [_BASE])) == {_BASE}
    said.clear()
    assert StoredChain(other, [_BASE], said.append).bring(_BASE, None, said.append) is None
    assert len(said) == 1 and "lost or damaged" in said[0] and store.url in said[0]
    _with(other, _base("2"))
    assert sharing.push(store, other, _BASE, scratch)
    third = LayerStore(tmp_path / "third")
    layer = StoredChain(third, [_BASE], said.append).bring(_BASE, None, said.append)
    assert layer is not None and layer.build == "2"
    assert said[-1].startswith(f"the base (layer {_BASE[:12]}) is in the store")
    # Also what both builds have in common is whole again.
    (now,) = sharing.look(store, [_BASE]).values()
    transfer.fetch(store, now.stored.blob, tmp_path / "whole")


def test_why_a_layer_of_the_store_is_passed_over_is_said_where_it_is_built(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_STORE_URL", store.url)
    one = LayerStore(tmp_path / "one")
    _with(one, _base("1"))
    assert sharing.push(store, one, _BASE, tmp_path / "scratch")
    (tmp_path / "store" / "refs" / "layers" / _BASE).write_text("{")
    said: list[str] = []
    local = LayerStore(tmp_path / "other")
    assert StoredChain(local, [_BASE], said.append).bring(_BASE, None, said.append) is None
    assert len(said) == 1 and f"refs/layers/{_BASE}" in said[0] and "cannot be read" in said[0]


def test_a_layer_that_is_nowhere_any_more_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LayerStore(tmp_path / "one")
    lost = _with(local, dataclasses.replace(_base("1"), packing="erofs"))
    with pytest.raises(ImageError, match=f"rekindle image rm {_BASE[:12]}`"):
        sharing.have_whole(local, lost)
    monkeypatch.delenv("REKINDLE_STORE_URL", raising=False)
    assert sharing.of_environment() is None


def test_a_folder_that_cannot_be_looked_into_is_not_taken_for_one_that_hides_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").mkdir()
    with exhausted.descriptors(0), pytest.raises(OSError, match="Too many open files"):
        list(sharing._opaque_directories(tmp_path))
    assert list(sharing._opaque_directories(tmp_path)) == []
