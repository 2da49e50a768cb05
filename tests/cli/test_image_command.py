"""``rekindle image``: what there is, what a build printed, and what goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from rekindle.blobs.store import open_store
from rekindle.cli.image import image
from rekindle.exception import ImageError, InvalidError, NotFoundError
from rekindle.runtime.images.builder import ensure
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.store import LayerStore
from rekindle.runtime.images.stored import StoredLayer
from rekindle.sdk.images import local_files
from tests import images

_NAMES = [f"{letter}" * 32 for letter in "abc"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LayerStore:
    """Three layers, the second and the third on the first."""
    monkeypatch.setenv("REKINDLE_IMAGES", str(tmp_path / "images"))
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / "home"))
    store = LayerStore()
    for number, name in enumerate(_NAMES):
        draft = store.draft(name)
        (draft.root / "file").write_bytes(bytes(5000))
        store.log(name).write_text(f"line of {name[0]}\n")
        parent = {"parent": _NAMES[0], "parent_build": "0"} if number else {}
        layer = Layer(
            name=name,
            build=str(number),
            title=f"step {name[0]}",
            size_bytes=8192,
            created_s=number + 1.0,
            **parent,
        )
        store.publish(draft, layer)
    return store


def _run(*arguments: str) -> str:
    done = CliRunner().invoke(image, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_layers_are_listed_below_what_they_stand_on(store: LayerStore) -> None:
    text = _run("list")
    assert text.index("step a") < text.index("  step b") < text.index("  step c")
    rows = json.loads(_run("list", "--json"))
    assert [(row["name"], row["in_use"]) for row in rows] == [(name, False) for name in _NAMES]


def test_a_layer_is_named_by_how_it_begins(store: LayerStore) -> None:
    known = json.loads(_run("inspect", "b"))
    assert [one["title"] for one in known["chain"]] == ["step a", "step b"]
    assert known["path"] == str(store.place(_NAMES[1]))
    assert _run("logs", "c") == "line of c\n"
    with pytest.raises(NotFoundError, match="no layer 'x'"):
        _run("inspect", "x")
    with pytest.raises(NotFoundError, match="no build has printed"):
        _run("logs", "x")


def test_what_stands_on_a_layer_goes_with_it(store: LayerStore) -> None:
    assert _run("rm", "b") == "removed bbbbbbbbbbbb step b\n"
    assert _run("rm", "a").splitlines() == [
        "removed cccccccccccc step c",
        "removed aaaaaaaaaaaa step a",
    ]
    assert _run("list") == "no layers\n"


_HOLDS = """
import sys
from rekindle.linux import mounts, namespaces
namespaces.unshare(namespaces.CLONE_NEWNS)
mounts.make_private()
mounts.mount(sys.argv[1], sys.argv[1], flags=mounts.MS_BIND)
print("mounted", flush=True)
sys.stdin.read()
"""


@images.needs_root
def test_of_layers_that_are_named_all_go_or_none(store: LayerStore) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(store.place(_NAMES[2]))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as runner:
        assert runner.stdout is not None and runner.stdout.readline() == "mounted\n"
        with pytest.raises(ImageError, match="nothing is removed: a runner has cccccccccccc"):
            _run("rm", "a")
        with pytest.raises(ImageError, match="nothing is removed"):
            _run("rm", "b", "c")
        assert [one.name for one in store.all()] == _NAMES
        # Of all, what can go does.
        assert _run("rm", "--all", "--yes") == "removed bbbbbbbbbbbb step b\n"
        runner.communicate()
    assert len(_run("rm", "a").splitlines()) == 2


def test_a_budget_is_kept_by_what_was_used_least_lately(store: LayerStore) -> None:
    os.utime(store.place(_NAMES[2]).parent, (1, 1))
    assert "would remove cccccccccccc" in _run("gc", "--budget", "20K", "--dry-run")
    assert len(store.all()) == 3
    text = _run("gc", "--budget", "20K")
    assert "removed cccccccccccc" in text and "2 layers, 16 KiB of 20 KiB" in text
    assert json.loads(_run("du", "--json"))["size_bytes"] == 16384
    assert "2 layers" in _run("du")


def _given(tmp_path: Path, content: bytes, used_s: float) -> Path:
    """Local files that an image was given: where the copy of them is."""
    folder = tmp_path / f"given-{used_s}"
    folder.mkdir()
    (folder / "file").write_bytes(content)
    kept = Path(local_files.keep(folder, "/given").kept)
    os.utime(kept.parent, (used_s, used_s))
    return kept


@images.needs_root
def test_copies_of_local_files_go_with_all_that_is_not_in_use(
    store: LayerStore, tmp_path: Path
) -> None:
    used, unused = _given(tmp_path, b"used", 1.0), _given(tmp_path, b"unused", time.time())
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(used)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as runner:
        assert runner.stdout is not None and runner.stdout.readline() == "mounted\n"
        assert f"removed {unused.parent.name[:12]} local files (4 KiB)" in _run("rm", "--all", "-y")
        assert not unused.exists() and (used / "file").read_bytes() == b"used"
        # Not for its age either.
        assert "local files (4 KiB), 4 KiB of 0 B" in _run("gc", "--budget", "0")
        runner.communicate()
    assert f"removed {used.parent.name[:12]}" in _run("gc", "--budget", "0")
    assert json.loads(_run("du", "--json"))["files_bytes"] == 0


def test_copies_of_local_files_count_in_a_budget_that_is_given_and_go_by_when_they_were_used(
    store: LayerStore, tmp_path: Path
) -> None:
    an_hour_ago = time.time() - 3600
    old = _given(tmp_path, bytes(range(256)) * 64, an_hour_ago)
    new = _given(tmp_path, b"new", time.time())
    assert "removed" not in _run("gc")
    text = _run("gc", "--budget", "30K", "--dry-run")
    assert f"would remove {old.parent.name[:12]} local files (16 KiB)" in text and old.exists()
    text = _run("gc", "--budget", "30K")
    assert "3 layers and local files (4 KiB), 28 KiB of 30 KiB" in text
    assert not old.exists() and new.exists() and len(store.all()) == 3


def test_why_more_than_the_budget_stays_is_said(
    store: LayerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_IMAGES_BUDGET_BYTES", "1000")
    text = _run("gc")
    assert "removed" not in text and "used in the last 10 minutes" in text and "--budget" in text
    assert "stays" not in _run("gc", "--budget", "1000")
    assert store.all() == []
    for wrong in ("abc", "-5"):
        monkeypatch.setenv("REKINDLE_IMAGES_BUDGET_BYTES", wrong)
        with pytest.raises(InvalidError, match=f"REKINDLE_IMAGES_BUDGET_BYTES: '{wrong}'"):
            _run("gc")
        with pytest.raises(InvalidError, match=f"REKINDLE_IMAGES_BUDGET_BYTES: '{wrong}'"):
            ensure(images.base().spec(), store=store)


def test_a_home_that_nothing_was_built_in_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_IMAGES", str(tmp_path / "not" / "yet"))
    assert json.loads(_run("du", "--json"))["free_bytes"] > 0
    assert not (tmp_path / "not").exists()


def test_a_layer_that_came_from_a_store_is_as_large_as_what_of_it_can_be_here(
    store: LayerStore,
) -> None:
    draft = store.draft("d" * 32)
    layer = Layer(name="d" * 32, build="9", title="fetched", size_bytes=9 << 20, packing="erofs")
    stored = StoredLayer(url="file:///s", blob="e" * 64, packing="erofs", size=3 << 20)
    store.publish(draft, layer, stored)

    def row() -> list[str]:
        (line,) = [line for line in _run("list").splitlines() if "fetched" in line]
        return line.split()

    assert row()[2:6] == ["3", "MiB", "0", "B"]
    store.packed(layer.name).write_bytes(os.urandom(3 << 20))
    assert row()[2:6] == ["3", "MiB", "3", "MiB"]


def test_nothing_to_build_is_said(store: LayerStore, tmp_path: Path) -> None:
    program = tmp_path / "program_without_images.py"
    program.write_text("import rekindle\napp = rekindle.App('a')\n@app.function()\ndef f(): ...\n")
    with pytest.raises(NotFoundError, match=r"no function .* has an image"):
        _run("build", str(program))


@images.needs_root
@images.needs_debian
@images.not_within
@pytest.mark.timeout(900)
def test_an_apps_images_are_built_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_IMAGES", str(tmp_path / "images"))
    images.own_base(tmp_path / "images")
    program = tmp_path / "program_with_an_image.py"
    program.write_text(
        "import rekindle\n"
        "image = rekindle.Image.debian_slim('3.13').run_commands('echo said; echo made > /made')\n"
        "app = rekindle.App('a', image=image)\n"
        "@app.function()\ndef f(): ...\n"
    )
    text = _run("build", str(program))
    assert "building run_commands" in text and "    said\n" in text and "  f  (" in text
    (layer,) = [one for one in LayerStore().all() if one.parent]
    assert (LayerStore().place(layer.name) / "made").read_text() == "made\n"
    again = _run("build", str(program))
    assert "building" not in again and "  f  (" in again
    # With a store that nodes share, the layers are in it by the end.
    monkeypatch.setenv("REKINDLE_STORE_URL", (tmp_path / "shared").as_uri())
    text = _run("build", str(program))
    assert f"in the store {(tmp_path / 'shared').as_uri()}\n" in text
    shared = {ref.name for ref in open_store((tmp_path / "shared").as_uri()).refs()}
    assert shared == {one.name for one in LayerStore().all()}
    assert all(LayerStore().stored(name) for name in shared)
    assert not list((tmp_path / "images" / "drafts").iterdir())
    monkeypatch.setenv("REKINDLE_STORE_URL", (program / "no-folder").as_uri())
    text = _run("build", str(program))
    assert "  f  (" in text and "not put into the store" in text and "no-folder" in text


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["du"], ["gc"], ["rm", "a"], ["inspect", "a"], ["logs", "a"]],
    ids=" ".join,
)
def test_layers_that_cannot_be_looked_at_are_said_to_be_so(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not taken for none."""
    for name in ("layers", "logs"):
        (tmp_path / name).touch()
    monkeypatch.setenv("REKINDLE_IMAGES", str(tmp_path))
    with pytest.raises(ImageError, match=r"cannot be read .*; set REKINDLE_IMAGES"):
        CliRunner().invoke(image, arguments, catch_exceptions=False)
