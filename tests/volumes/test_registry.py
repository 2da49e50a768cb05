"""Which volumes there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.exception import AlreadyExistsError, InvalidError, NotFoundError, VolumeError
from rekindle.volumes.registry import EPHEMERAL, Registry
from rekindle.volumes.remote import of_volume
from tests.hung import hung


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """None yet."""
    return Registry(tmp_path / "volumes")


def test_names_are_of_their_environment_and_ids_of_the_volume(
    registry: Registry, tmp_path: Path
) -> None:
    store = (tmp_path / "store").as_uri()
    one = registry.create("data", "main")
    other = registry.create("data", "staging", store)
    assert one.id != other.id and other.url == store
    (one.files / "file").write_text("1")
    assert [found.name for found in registry.all("main")] == ["data"]
    assert registry.create("data", "main", allow_existing=True) == one
    with pytest.raises(AlreadyExistsError, match="'data'"):
        registry.create("data", "main")
    renamed = registry.rename(one, "corpus")
    assert registry.by_id(one.id) == renamed
    assert (renamed.files / "file").read_text() == "1"
    with pytest.raises(NotFoundError, match="there are corpus"):
        registry.find("data", "main")
    registry.create("data", "main")
    with pytest.raises(AlreadyExistsError):
        registry.rename(renamed, "data")
    registry.delete(renamed)
    with pytest.raises(NotFoundError, match="gone already"):
        registry.delete(renamed)
    assert [found.name for found in registry.all(None)] == ["data", "data"]


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "x" * 65, "a\n"])
def test_what_would_be_another_folder_is_no_name(registry: Registry, name: str) -> None:
    for attempt in (
        lambda: registry.create(name, "main"),
        lambda: registry.find(name, "main"),
        lambda: registry.create("data", name),
        lambda: registry.rename(registry.create("ok", "main", allow_existing=True), name),
    ):
        with pytest.raises(InvalidError):
            attempt()


def test_the_environment_of_those_without_a_name_is_no_name_of_a_volume(
    registry: Registry,
) -> None:
    with pytest.raises(InvalidError, match="name of a volume"):
        registry.create(EPHEMERAL, "main")
    with registry.ephemeral() as made:
        assert registry.by_id(made.id) == registry.find(made.name, EPHEMERAL) == made
        assert registry.all(None) == [] and registry.all(None, ephemeral=True) == [made]


@pytest.mark.parametrize("how", ["given", "of all"])
@pytest.mark.parametrize(
    "url", ["a/folder", "file:a", "file://a/folder", "local://a", "memory://x"]
)
def test_a_store_that_other_processes_would_not_find_is_refused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, url: str, how: str
) -> None:
    if how == "of all":
        monkeypatch.setenv("REKINDLE_VOLUMES_URL", url)
    with pytest.raises(InvalidError, match=r"the store of the volume 'data': .*file:///"):
        registry.create("data", "main", url if how == "given" else "")
    assert registry.all(None) == []


def test_new_volumes_lie_below_the_url_that_is_set(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_VOLUMES_URL", "s3://bucket/volumes/")
    assert registry.create("data", "main").url == "s3://bucket/volumes/main/data"


@pytest.mark.parametrize("how", ["renamed", "of a renamed environment"])
def test_a_new_volume_never_has_the_store_folder_of_one_that_had_its_name(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("REKINDLE_VOLUMES_URL", f"file://{store}")
    first = registry.create("data", "main")
    (first.files / "file").write_text("of the first")
    of_volume(first).push()
    if how == "renamed":
        registry.rename(first, "other")
    else:
        registry.rename_environment("main", "other")
    new = registry.create("data", "main")
    assert new.url == f"file://{store}/main/data-{new.id}"
    of_volume(new).pull()
    assert list(new.files.iterdir()) == []
    # Its folder is nobody's once it is deleted, and its name's again.
    moved = registry.by_id(first.id)
    registry.delete(new)
    registry.delete(moved)
    assert registry.create("data", "main").url == first.url == f"file://{store}/main/data"


def test_one_without_a_name_is_gone_after_its_block_and_after_sigkill(registry: Registry) -> None:
    with registry.ephemeral() as held:
        assert registry.find(held.name, EPHEMERAL) == held
        assert registry.all(None) == []
        program = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(registry.root)], stdout=subprocess.PIPE, text=True
        )
        assert program.stdout is not None
        with program.stdout:
            other = Path(program.stdout.readline().strip())
            registry.sweep(registry.left_over())
            assert other.exists() and held.files.exists()
            program.kill()
            program.wait()
        registry.sweep(registry.left_over())
        assert not other.exists() and held.files.exists()
    assert not held.files.exists()


_HOLDER = """
import sys, time
from pathlib import Path
from rekindle.volumes.registry import Registry
with Registry(Path(sys.argv[1])).ephemeral() as held:
    print(held.place, flush=True)
    time.sleep(600)
"""


@pytest.mark.needs_root("mounts a file system")
def test_a_directory_that_cannot_be_read_is_not_one_without_volumes(tmp_path: Path) -> None:
    with hung(tmp_path / "volumes") as end:
        end()
        registry = Registry(tmp_path / "volumes")
        for environment in ("main", None):
            with pytest.raises(VolumeError, match=r"volumes.* cannot be read"):
                registry.all(environment)
        with pytest.raises(VolumeError, match="cannot be read"):
            registry.left_over()


def test_what_lies_beside_the_environments_is_not_looked_into(registry: Registry) -> None:
    registry.create("data", "main")
    (registry.root / "lost+found").mkdir(mode=0)
    (registry.root / "notes").touch()
    assert [one.name for one in registry.all(None, ephemeral=True)] == ["data"]


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"\xff", b"[]", b'{"id": "vo-1"}', b'{"id": 1, "created_ns": 1, "url": ""}'],
)
def test_a_damaged_volume_hides_no_other_and_is_neither_moved_nor_made_again(
    registry: Registry, damaged: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good, bad = registry.create("good", "here"), registry.create("bad", "here")
    about = bad.place / "volume.json"
    about.write_bytes(damaged)
    assert [one.name for one in registry.all("here")] == ["good"]
    assert registry.by_id(good.id) == good and registry.environments() == {"here": 1}
    (error,) = registry.damaged("here")
    assert str(about) in str(error)
    for ask in (
        lambda: registry.find("bad", "here"),
        lambda: registry.by_id(bad.id),
        lambda: registry.create("bad", "here", allow_existing=True),
        lambda: registry.rename_environment("here", "there"),
    ):
        with pytest.raises(VolumeError, match="it is damaged"):
            ask()
    assert registry.find("good", "here") == good and about.read_bytes() == damaged
    # The folder of a store may be that of the damaged one.
    monkeypatch.setenv("REKINDLE_VOLUMES_URL", f"file://{tmp_path}/store")
    new = registry.create("new", "here")
    assert new.url == f"file://{tmp_path}/store/here/new-{new.id}"
