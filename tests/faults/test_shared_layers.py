"""Layers in a store: pushers that are killed or meet, stores that fail or lie, full disks."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import unwell
from rekindle.blobs.store import BlobStore, open_store
from rekindle.exception import BlobError
from rekindle.runtime.images import sharing
from rekindle.runtime.images.builder import ensure
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.store import LayerStore
from tests import images
from tests.blobs.machine import needs_erofs

pytestmark = pytest.mark.timeout(300)

_NAMES = ["a" * 32, "b" * 32]
_KILLS = 6


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return open_store((tmp_path / "store").as_uri())


def _layers(place: Path, build: str) -> LayerStore:
    """A node's layers: one, and one that stands on it; their files say which build they are of."""
    local = LayerStore(place)
    for number, name in enumerate(_NAMES):
        draft = local.draft(name)
        (draft.root / "build").write_text(build + name)
        (draft.root / "content").write_bytes(random.Random(number).randbytes(8 << 20))
        parent = {"parent": _NAMES[0], "parent_build": build + "0"} if number else {}
        local.publish(draft, Layer(name=name, build=f"{build}{number}", title="step", **parent))
    return local


def _brought(store: BlobStore, place: Path, names: list[str]) -> dict[str, Layer]:
    """A node that has nothing gets what the store has of these, and checks that it is whole."""
    local, said = LayerStore(place), list[str]()
    found = sharing.look(store, names)
    for name, one in found.items():
        layer = sharing.adopt(store, local, one, said.append)
        if layer.packing:
            file = sharing.have_whole(local, layer)
            with _mounted(file, local.place(name)):
                _check(local.place(name), layer)
        else:
            _check(local.place(name), layer)
    return {name: one.layer for name, one in found.items()}


def _check(root: Path, layer: Layer) -> None:
    assert (root / "build").read_text() == layer.build[:-1] + layer.name
    number = _NAMES.index(layer.name)
    assert (root / "content").read_bytes() == random.Random(number).randbytes(8 << 20)


@contextmanager
def _mounted(file: Path, place: Path) -> Iterator[None]:
    from rekindle.blobs import erofs

    erofs.mount(file, place)
    try:
        yield
    finally:
        erofs.unmount(place)


_PUSH = """
import sys
from pathlib import Path
from rekindle.blobs.store import open_store
from rekindle.runtime.images import sharing
from rekindle.runtime.images.store import LayerStore
url, place, scratch, *names = sys.argv[1:]
for name in names:
    print("begins", flush=True)
    print(sharing.push(open_store(url), LayerStore(Path(place)), name, Path(scratch)), flush=True)
"""


def _pusher(store: BlobStore, local: LayerStore, scratch: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PUSH, store.url, str(local.root), str(scratch), *_NAMES],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_pusher_that_is_killed_leaves_nothing_that_is_taken_for_a_layer(
    store: BlobStore, tmp_path: Path
) -> None:
    seed = int(os.environ.get("REKINDLE_FAULT_SEED", "7"))
    chance = random.Random(seed)
    print(f"REKINDLE_FAULT_SEED={seed}")
    local = _layers(tmp_path / "node", "n")
    killed = 0
    for attempt in range(_KILLS):
        with _pusher(store, local, tmp_path / "scratch") as pusher:
            assert pusher.stdout is not None
            pusher.stdout.readline()
            # Somewhere within what one takes; what it has put so far is there for the next.
            try:
                pusher.wait(chance.uniform(0.05, 0.3))
            except subprocess.TimeoutExpired:
                killed += 1
                pusher.kill()
        _brought(store, tmp_path / f"other-{attempt}", _NAMES)
    assert killed
    with _pusher(store, local, tmp_path / "scratch") as pusher:
        assert pusher.wait() == 0
    assert set(_brought(store, tmp_path / "last", _NAMES)) == set(_NAMES)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_of_two_nodes_that_push_one_chain_at_once_others_get_layers_that_fit(
    store: BlobStore, tmp_path: Path
) -> None:
    nodes = [_layers(tmp_path / build, build) for build in ("x", "y")]
    pushers = [_pusher(store, node, tmp_path / f"scratch-{at}") for at, node in enumerate(nodes)]
    for pusher in pushers:
        with pusher:
            assert pusher.wait() == 0
    found = _brought(store, tmp_path / "third", _NAMES)
    # The base is one of the two; what stands on it is there by now, or the next one puts it there.
    base = found[_NAMES[0]]
    assert base.build in ("x0", "y0")
    owner = nodes[0] if base.build == "x0" else nodes[1]
    assert sharing.push(store, owner, _NAMES[1], tmp_path / "again")
    found = _brought(store, tmp_path / "fourth", _NAMES)
    assert found[_NAMES[1]].parent_build == found[_NAMES[0]].build
    # Their content is the same, and was kept once: what differs is the first chunk of each.
    stored = sum(one.size for one in store.objects.list("chunks"))
    assert stored < 3 * (8 << 20)


@pytest.mark.usefixtures("unwell_urls")
@pytest.mark.parametrize("conduct", [{"fail_one_in": 10}, {"flips": 3}])
def test_a_store_that_fails_now_and_then_gives_whole_layers(
    store: BlobStore, tmp_path: Path, conduct: dict[str, int]
) -> None:
    local = _layers(tmp_path / "node", "n")
    for name in _NAMES:
        assert sharing.push(store, local, name, tmp_path / "scratch")
    unwell.Conduct(**conduct).begin(tmp_path / "store")
    ill = open_store(unwell.url(tmp_path / "store"))
    assert set(_brought(ill, tmp_path / "other", _NAMES)) == set(_NAMES)


_FILLED = """
import sys
from pathlib import Path
from rekindle.blobs.store import open_store
from rekindle.exception import Error
from rekindle.runtime.images import sharing
from rekindle.runtime.images.store import LayerStore
url, disk, name, node = sys.argv[1:]
store, local = open_store(url), LayerStore(Path(disk, "images"))
for filling in (12 << 20, 0):
    Path(disk, "filling").write_bytes(bytes(filling))
    try:
        (found,) = sharing.look(store, [name]).values()
        layer = local.get(name) or sharing.adopt(store, local, found, print)
        print(sharing.have_whole(local, layer).stat().st_size > 8 << 20)
    except Error as error:
        print(error)
    try:
        print(sharing.push(store, LayerStore(Path(node)), "b" * 32, Path(disk, "scratch")))
    except Error as error:
        print(error)
"""


@needs_erofs
def test_a_full_disk_is_said_and_when_there_is_room_the_layer_comes_and_goes(
    store: BlobStore, tmp_path: Path
) -> None:
    local = _layers(tmp_path / "node", "n")
    assert sharing.push(store, local, _NAMES[0], tmp_path / "scratch")
    disk = tmp_path / "disk"
    disk.mkdir()
    small = Path(__file__).parents[1] / "small_disk.py"
    done = subprocess.run(
        [
            *(sys.executable, small, disk, "18m"),
            *(sys.executable, "-c", _FILLED, store.url, disk, _NAMES[0], tmp_path / "node"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line]
    assert done.returncode == 0, done.stderr
    first, pushed = said[1], said[2]
    assert _NAMES[0][:12] in first and store.url in first and "No space left" in first, said
    assert "cannot be packed" in pushed or "No space" in pushed or "EROFS file" in pushed, said
    assert said[3] == "True", said
    # What is here leaves no room for both; nothing of a half-packed layer is named.
    assert set(sharing.look(store, _NAMES)) == ({*_NAMES} if said[4] == "True" else {_NAMES[0]})


@images.needs_root
@images.needs_debian
@images.not_within
@pytest.mark.usefixtures("unwell_urls")
def test_who_cannot_read_the_store_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error: what cannot be had is built."""
    local = images.own_base(tmp_path / "images")
    monkeypatch.setenv("REKINDLE_STORE_URL", (tmp_path / "store").as_uri())
    (tmp_path / "ill").mkdir()
    unwell.Conduct(down=True).begin(tmp_path / "ill")
    monkeypatch.setenv("REKINDLE_STORE_URL", unwell.url(tmp_path / "ill"))
    lines: list[str] = []
    image = images.base().run_commands("echo > /built")
    built = ensure(image.spec(), store=local, watch=lambda _step, line: lines.append(line))
    assert built is not None and (built.lowers[0] / "built").exists()
    assert any("not looked for in the store" in line for line in lines)
    with pytest.raises(BlobError):
        sharing.look(open_store(unwell.url(tmp_path / "ill")), _NAMES)
