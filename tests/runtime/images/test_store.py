"""The store: what a layer is, who builds it, and what goes when there is too much."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rekindle.exception import ImageError, NotFoundError
from rekindle.runtime.images import layer_gc
from rekindle.runtime.images.layer import Layer, Settings
from rekindle.runtime.images.store import LayerStore, mounted
from rekindle.runtime.images.stored import StoredLayer
from tests import exhausted


@pytest.fixture
def store(tmp_path: Path) -> LayerStore:
    return LayerStore(tmp_path / "images")


def _name(number: int) -> str:
    return f"{number:032x}"


def _published(store: LayerStore, number: int, parent: int | None = None, **more: object) -> Layer:
    draft = store.draft(_name(number))
    (draft.root / "file").write_text(str(number))
    (draft.scratch / "left").touch()
    given: dict[str, object] = {"size_bytes": 100, "created_s": float(number), **more}
    above = {"parent": _name(parent), "parent_build": "b"} if parent is not None else {}
    layer = Layer(name=_name(number), build="b", **above, **given)  # type: ignore[arg-type]
    store.publish(draft, layer)
    return layer


def test_a_record_is_read_as_it_was_written() -> None:
    settings = Settings(env={"A": "b"}, workdir="/w", entrypoint=("x", "y"))
    layer = Layer(name="n", build="b", parent="p", settings=settings, python="/p", size_bytes=3)
    assert Layer.from_json(layer.to_json()) == layer
    with pytest.raises(ValueError, match="no layer's record"):
        Layer.from_json("[]")


def test_a_layer_is_there_when_it_is_published_and_not_before(store: LayerStore) -> None:
    draft = store.draft(_name(1))
    assert store.get(_name(1)) is None and store.all() == []
    store.publish(draft, Layer(name=_name(1), build="x"))
    assert store.get(_name(1)) == Layer(name=_name(1), build="x")
    assert {one.name for one in store.place(_name(1)).parent.iterdir()} == {"root", "layer.json"}


def test_another_build_takes_the_place_of_the_layer_as_a_whole(store: LayerStore) -> None:
    _published(store, 1)
    draft = store.draft(_name(1))
    (draft.root / "other").touch()
    store.publish(draft, Layer(name=_name(1), build="new"))
    assert store.get(_name(1)).build == "new"  # type: ignore[union-attr]
    assert [one.name for one in store.place(_name(1)).iterdir()] == ["other"]


def test_drafts_of_others_stay_while_their_builder_lives(store: LayerStore) -> None:
    draft = store.draft(_name(1))
    store.remove_leftovers()
    assert draft.root.is_dir()
    os.close(draft.lock)  # as when its builder has ended
    store.remove_leftovers()
    assert not draft.place.exists()


def test_one_process_builds_a_layer_at_a_time(store: LayerStore) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from rekindle.runtime.images.store import LayerStore\n"
        "with LayerStore(Path(sys.argv[1])).building(sys.argv[2], lambda: None):\n"
        "    print('has it', flush=True); sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", script, str(store.root), _name(1)]
    waited = threading.Event()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "has it\n"

        def waits() -> None:
            if not waited.is_set():
                waited.set()
                other.kill()  # what it held goes with it

        with store.building(_name(1), waits):
            assert waited.is_set()
    with store.building(_name(2), pytest.fail):
        pass


def test_a_layer_is_named_by_how_its_name_begins(store: LayerStore) -> None:
    layers = [_published(store, 0xA1 << 120), _published(store, 0xA2 << 120)]
    assert store.resolve("a2") == layers[1]
    with pytest.raises(NotFoundError, match="several layers begin with 'a'"):
        store.resolve("a")
    with pytest.raises(NotFoundError, match="no layer 'b'"):
        store.resolve("b")


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = LayerStore(tmp_path / "file")
    cannot = pytest.raises(ImageError, match=r"cannot be written.*REKINDLE_IMAGES")
    with cannot, store.building(_name(1), pytest.fail):
        pass


# ---- collecting --------------------------------------------------------------------------------


def test_the_least_recently_used_goes_first_and_none_before_what_stands_on_it(
    store: LayerStore,
) -> None:
    layers = [_published(store, 1), _published(store, 2, 1), _published(store, 3, 1)]
    layers.append(_published(store, 4))
    used = {_name(1): 1.0, _name(2): 5.0, _name(3): 3.0, _name(4): 4.0}

    def gone(budget: int, staying: set[str] = frozenset()) -> list[int]:  # type: ignore[assignment]
        chosen = layer_gc.to_remove(layers, used, staying, budget)
        return [int(layer.name, 16) for layer in chosen]

    assert gone(400) == []
    assert gone(300) == [3]
    assert gone(0) == [3, 4, 2, 1]
    assert gone(0, {_name(2)}) == [3, 4]


def test_collecting_spares_what_was_used_just_now_unless_a_size_is_asked_for(
    store: LayerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _published(store, 1)
    _published(store, 2)
    monkeypatch.setenv(layer_gc.VARIABLE, "0")
    os.utime(store.place(_name(1)).parent, (1, 1))
    assert [one.name for one in layer_gc.collect(store, dry_run=True)] == [_name(1)]
    assert [one.name for one in layer_gc.collect(store)] == [_name(1)]
    assert [one.name for one in layer_gc.collect(store, 0)] == [_name(2)]
    assert store.all() == []


def test_local_files_go_when_nothing_has_used_them_for_long_wherever_they_are_kept(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / "home"))
    # As digests are: a shorter name is part of many a mount's path that others have just now.
    old, new = _name(1), _name(2)
    for folder in (store.root / "files", tmp_path / "home" / "images" / "files"):
        for name in (old, new):
            (folder / name).mkdir(parents=True)
            (folder / name / "content").write_text(name)
        os.utime(folder / old, (0, 0))
    # Of another store than this machine's, what is in it alone.
    monkeypatch.setenv("REKINDLE_IMAGES", str(tmp_path / "others"))
    layer_gc.collect(store)
    assert sorted(tmp_path.rglob(old)) == [tmp_path / "home/images/files" / old]
    monkeypatch.setenv("REKINDLE_IMAGES", str(store.root))
    assert layer_gc.usage(store).files_bytes > 0
    layer_gc.collect(store)
    assert not list(tmp_path.rglob(old)) and len(list(tmp_path.rglob(new))) == 2


def test_layers_that_a_mount_has_are_known_by_name() -> None:
    assert mounted([_name(7)]) == set()
    assert mounted(["/proc "]) == {"/proc "}


def test_a_record_that_cannot_be_read_just_now_is_not_taken_for_none(store: LayerStore) -> None:
    layer = _published(store, 1)
    with exhausted.descriptors(0), pytest.raises(ImageError, match="Too many open files"):
        store.get(layer.name)
    assert store.get(layer.name) == layer


def test_what_is_noted_of_a_layer_and_cannot_be_read_just_now_is_not_taken_for_nothing(
    store: LayerStore,
) -> None:
    layer = _published(store, 1)
    stored = StoredLayer(url="file:///s", blob="b1", packing="tar", size=1, opaque=())
    store.note_stored(layer.name, stored)
    store.note_damaged(layer.name, "b1")  # by somebody else: this one was built here
    for look in (lambda: store.stored(layer.name), lambda: store.is_damaged(layer.name, "b1")):
        with exhausted.descriptors(0), pytest.raises(ImageError, match="Too many open files"):
            look()
    assert store.stored(layer.name) == stored
    assert store.is_damaged(layer.name, "b1") and not store.is_damaged(layer.name, "b2")


def test_what_is_mounted_is_not_guessed_where_it_cannot_be_seen() -> None:
    with exhausted.descriptors(1), pytest.raises(ImageError, match="in use cannot be found out"):
        mounted([_name(1)])
    assert mounted([_name(1)]) == set()
