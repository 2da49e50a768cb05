"""Two nodes and a store: the second has nothing, and runs in the image that the first has built."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rekindle.blobs.store import BlobStore, open_store
from tests import images
from tests.blobs.machine import needs_fuse
from tests.e2e.harness import Home, a_home, wait_until

pytestmark = [pytest.mark.criu, *images.BUILDS]

_PROGRAM = """
    import json, os, pathlib, subprocess, sys, time
    import rekindle
    from rekindle.sdk.running import ask_strategy

    SITE = "/usr/lib/python3/dist-packages"
    image = (
        rekindle.Image.debian_slim("3.13")
        .run_commands(f"mkdir /lib/rk-x && echo 'VALUE = 7' > {SITE}/thing.py")
        .run_commands("rm -r /etc/issue /lib/rk-x && mkdir /lib/rk-x && echo two > /lib/rk-x/y")
    )
    app = rekindle.App("in-layers", image=image)

    @app.cls(enable_memory_snapshot=True, single_use_containers=True)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            import thing
            self.value = thing.VALUE

        @rekindle.method()
        def look(self):
            import decimal, sqlite3
            return [
                self.value, sys.version_info[:2], os.path.exists("/etc/issue"),
                os.listdir("/lib/rk-x"), pathlib.Path("/lib/rk-x/y").read_text(),
                str(decimal.Decimal(1) / 3)[:4],
                sqlite3.connect(":memory:").execute("select 1").fetchone(),
            ]

    @app.local_entrypoint()
    def main():
        found = {"first": Model().look.remote()}
        strategies = os.environ.get("ASKED", "").split()
        if "fork" in strategies:
            Model().look.prepare("fork")  # a template is restored in the background
        for strategy in strategies:
            with ask_strategy(strategy):
                found[strategy] = Model().look.remote()
        print(json.dumps(found))
"""
_SEEN = [7, [3, 13], False, ["y"], "two\n", "0.33", [1]]


@pytest.fixture(scope="module")
def built() -> Iterator[Home]:
    """A node that has put an image and a snapshot into a store, in its folder ``store``."""
    with a_home() as made:
        made.environ["REKINDLE_IMAGES"] = str(made.root / "images")
        made.environ["REKINDLE_STORE_URL"] = (made.root / "store").as_uri()
        images.own_base(made.root / "images")
        store = open_store(made.environ["REKINDLE_STORE_URL"])
        made.up()
        assert made.run(made.script(_PROGRAM)).value == {"first": _SEEN}
        wait_until(lambda: len(_refs(store, "layers")) == 3, "three layers in the store")
        wait_until(lambda: _refs(store, "snapshots"), "the snapshot in the store")
        assert all(one["stored"] for one in _layers(made, {}))
        made.rekindle("down")
        yield made


@pytest.fixture
def first(built: Home, tmp_path: Path) -> Home:
    """That node, which is down, with a copy of the store, in ``tmp_path / "store"``."""
    shutil.copytree(built.root / "store", tmp_path / "store")
    built.environ["REKINDLE_STORE_URL"] = (tmp_path / "store").as_uri()
    return built


@contextmanager
def _another(home: Home, **environ: str) -> Iterator[dict[str, str]]:
    """A node that has nothing, with the same store: the variables of what is run there."""
    place = tempfile.mkdtemp(dir=home.root)  # short: sockets must fit
    made = {
        "REKINDLE_HOME": f"{place}/home",
        "REKINDLE_IMAGES": f"{place}/images",
        **environ,
    }
    home.up(**made)
    try:
        yield made
    finally:
        home.rekindle("down", **made)


def _layers(home: Home, environ: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        home.rekindle("image", "list", "--json", **environ).out
    )
    return found


def _refs(store: BlobStore, kind: str) -> list[str]:
    return [ref.name for ref in store.refs() if ref.kind == kind]


def test_a_node_that_has_nothing_runs_in_layers_that_another_one_built(first: Home) -> None:
    script = first.script(_PROGRAM)
    with _another(first) as second:
        ended = first.run(script, ASKED="cold fork restore", **second)
        assert ended.value == dict.fromkeys(("first", "cold", "fork", "restore"), _SEEN)
        assert "Building" not in ended.out + ended.err
        wait_until(
            lambda: all(one["local_bytes"] for one in _layers(first, second)), "all to arrive"
        )
        assert [one["packing"] for one in _layers(first, second)] == ["erofs"] * 3
        # From what has arrived, as from what was on its way.
        assert first.run(script, ASKED="cold restore", **second).value["cold"] == _SEEN
        # A step on top of what came from the store is built on it.
        above = 'image = image.run_commands("cp /lib/rk-x/y /z")'
        more = first.script(_PROGRAM.replace("app = ", f"{above}\n    app = "), "more.py")
        assert first.run(more, **second).value["first"] == _SEEN
    assert str(first.root) not in Path("/proc/self/mountinfo").read_text()
    assert os.listdir(Path(second["REKINDLE_HOME"], "lazy")) == []


@needs_fuse
def test_a_layer_that_has_no_room_among_lazy_files_is_fetched_whole_and_said(first: Home) -> None:
    script = first.script(_PROGRAM)
    # The base takes more than this, the steps on it less.
    with _another(first, REKINDLE_LAZY_BYTES="20000000") as second:
        ended = first.run(script, **second)
        assert ended.value == {"first": _SEEN}
        said = ended.out + ended.err
        (line,) = (line for line in said.splitlines() if "is fetched whole first" in line)
        assert "debian_slim" in line and "REKINDLE_LAZY_BYTES" in line
        base = next(one for one in _layers(first, second) if "debian_slim" in one["title"])
        assert base["packing"] == "erofs" and base["local_bytes"] > 20000000


def test_without_fuse_a_layer_is_fetched_whole_and_a_user_who_is_not_root_has_it_unpacked(
    first: Home, tmp_path: Path
) -> None:
    script = first.script(_PROGRAM)
    with _another(first, REKINDLE_LAZY_BYTES="0") as second:
        assert first.run(script, ASKED="cold", **second).value["cold"] == _SEEN
        listed = _layers(first, second)
        assert all(one["packing"] and one["local_bytes"] for one in listed)
    uid = 61000 + os.getpid() % 1000
    copy = Path(tempfile.mkdtemp(prefix="rk-store-"))
    try:
        shutil.copytree(tmp_path / "store", copy / "store")
        for path in (copy, *copy.rglob("*")):
            os.chown(path, uid, uid)
        with a_home(uid, REKINDLE_STORE_URL=(copy / "store").as_uri()) as plain:
            ended = plain.run(plain.script(_PROGRAM), ASKED="fork")
            assert ended.value == {"first": _SEEN, "fork": _SEEN}
            assert "fetched whole and unpacked, as only root mounts" in ended.out + ended.err
            assert all(not one["packing"] for one in _layers(plain, {}))
    finally:
        shutil.rmtree(copy)
