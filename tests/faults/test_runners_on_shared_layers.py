"""Runners in layers of a store that stalls, fails, loses its server, or has them damaged."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import unwell
from rekindle.blobs.store import open_store
from rekindle.wire.images import names
from tests import images
from tests.blobs.machine import needs_fuse
from tests.e2e.harness import Home, a_home, service, wait_until

pytestmark = images.BUILDS

_PROGRAM = """
    import os
    import rekindle
    from pathlib import Path

    image = rekindle.Image.debian_slim("3.13").run_commands(
        "head -c 24000000 /dev/urandom > /large; sha256sum < /large > /sum"
    )
    app = rekindle.App("from-an-ill-store", image=image)

    @app.function()
    def whole():
        import hashlib
        with open("/large", "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == open("/sum").read().split()[0]

    @app.function()
    def start():
        return 1

    @app.local_entrypoint()
    def main():
        from lab import unwell

        folder = os.environ.get("ILL", "")
        print(start.remote())
        if folder:
            unwell.Conduct(stalled=True).begin(Path(folder))
            try:
                print("answered", whole.remote())
            except rekindle.exception.Error as error:
                print("failed", type(error).__name__, str(error).replace(chr(10), " "))
            unwell.Conduct().begin(Path(folder))
        print("at last", whole.remote())
"""


@pytest.fixture(scope="module")
def built() -> Iterator[Home]:
    """A node that has put an image into a store, in its folder ``store``; it is down."""
    with a_home(REKINDLE_CRASH_BACKOFF_S="0.05") as made:
        folder = made.root / "store"
        made.environ |= unwell.environment(made.root / "packages")
        made.environ |= {
            "REKINDLE_IMAGES": str(made.root / "images"),
            "REKINDLE_STORE_URL": folder.as_uri(),
        }
        images.own_base(made.root / "images")
        made.up()
        assert "at last True" in made.run(made.script(_PROGRAM)).out
        store = open_store(folder.as_uri())
        wait_until(lambda: len(list(store.refs())) == 2, "both layers to be in the store")
        made.rekindle("down")
        yield made


@pytest.fixture
def node(built: Home, tmp_path: Path) -> Home:
    """That node, with a copy of the store, in ``tmp_path / "store"``, which may be harmed."""
    shutil.copytree(built.root / "store", tmp_path / "store")
    built.environ["REKINDLE_STORE_URL"] = unwell.url(tmp_path / "store")
    return built


@contextmanager
def _another(home: Home, **environ: str) -> Iterator[dict[str, str]]:
    """A node that has nothing, with the same store."""
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
        # None of its processes was killed, as one that had not ended in its time is.
        log = Path(made["REKINDLE_HOME"], "daemon/logs/supervisor.log").read_text()
        assert "event=killed" not in log, log


@needs_fuse
def test_a_store_that_stalls_ends_who_reads_by_an_error_that_names_layer_and_store(
    node: Home, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    store = open_store(folder.as_uri())
    (ref,) = (one for one in store.refs() if one.about["layer"]["title"].startswith("run_commands"))
    # Two of the large file, which no start needs: they are not here when all of the store stalls.
    unwell.Conduct(stalls_on=store.index(ref.blobs[0]).chunks[10:12]).begin(folder)
    with _another(node, REKINDLE_LAZY_WAIT_S="1", ILL=str(folder)) as second:
        said = node.run(node.scripts / "script.py", **second).out.splitlines()
    assert said[0] == "1"
    assert said[1].startswith("failed"), said
    assert "head -c 24000000" in said[1] and unwell.url(folder) in said[1], said
    # Once it answers again, the same layer is read to its end.
    assert said[2] == "at last True", said


def test_a_store_that_stalls_when_layers_are_looked_for_is_said_and_they_are_built(
    node: Home, tmp_path: Path
) -> None:
    unwell.Conduct(stalled=True).begin(tmp_path / "store")
    with _another(node, REKINDLE_LAZY_WAIT_S="4") as second:
        # The base is there: to make it takes longer than all else of this test.
        (base,) = names(images.base().spec().steps)
        layers = Path(second["REKINDLE_IMAGES"], "layers")
        layers.mkdir(parents=True)
        shutil.copytree(
            node.root / "images/layers" / base, layers / base, symlinks=True, copy_function=os.link
        )
        ended = node.run(node.scripts / "script.py", **second)
    said = ended.out + ended.err
    assert "at last True" in said
    waiting, gave_up, building = map(
        said.index, ("waiting for the store", "layers are not looked for", "Building run_commands")
    )
    assert waiting < gave_up and waiting < building
    assert "did not answer within 4 s (REKINDLE_LAZY_WAIT_S)" in said


@needs_fuse
def test_a_store_that_fails_one_request_in_ten_serves_a_node_that_has_nothing(
    node: Home, tmp_path: Path
) -> None:
    unwell.Conduct(fail_one_in=10, latency_s=0.001).begin(tmp_path / "store")
    with _another(node) as second:
        assert "at last True" in node.run(node.scripts / "script.py", **second).out


@needs_fuse
def test_when_what_serves_lazy_files_is_killed_layers_are_fetched_whole(
    node: Home, tmp_path: Path
) -> None:
    # Slow, so that the layer is not here when its server is killed.
    unwell.Conduct(bytes_per_s=5e6).begin(tmp_path / "store")
    with _another(node) as second:
        script = node.scripts / "script.py"
        assert node.run(f"{script}::start", **second).status == 0
        server = service(node.supervisor(second["REKINDLE_HOME"]), "rekindle.blobs.lazy.server")
        server.kill()
        wait_until(lambda: not server.is_running(), "the end of what serves lazy files")
        unwell.Conduct().begin(tmp_path / "store")
        assert "at last True" in node.run(script, **second).out
        listed = json.loads(node.rekindle("image", "list", "--json", **second).out)
        assert all(one["local_bytes"] for one in listed)


@needs_fuse
def test_a_layer_that_is_found_damaged_as_it_is_read_is_an_error_and_is_built_anew(
    node: Home, tmp_path: Path
) -> None:
    """What is found before anything runs in it: test_damaged_layers.py."""
    store = open_store((tmp_path / "store").as_uri())
    refs = {ref.about["layer"]["title"]: ref for ref in store.refs()}
    (title,) = (one for one in refs if one.startswith("run_commands"))
    blob = refs[title].blobs[0]
    base = {
        name
        for ref in store.refs()
        for one in ref.blobs
        if one != blob
        for name in store.index(one).chunks
    }
    # All but the first, in which the names of files are.
    for name in set(store.index(blob).chunks[1:]) - base:
        place = tmp_path / "store" / "chunks" / name[:2] / name
        if place.exists():
            data = bytearray(place.read_bytes())
            data[len(data) // 2] ^= 1
            place.write_bytes(data)
    with _another(node) as second:
        ended = node.run(node.scripts / "script.py", status=None, **second)
        log = Path(second["REKINDLE_HOME"], "daemon/logs/agent.log").read_text()
        assert "is damaged in" in log
        again = node.run(node.scripts / "script.py", **second)
        assert "at last True" in again.out
        assert "at last False" not in ended.out
        listed = json.loads(node.rekindle("image", "list", "--json", **second).out)
        assert {one["title"]: one["packing"] for one in listed}[title] == ""
        # What was built in its place is what others get from now on.
        wait_until(
            lambda: store.ref("layers", refs[title].name).blobs[0] != blob,  # type: ignore[union-attr]
            "the layer that was built anew to be in the store",
        )
