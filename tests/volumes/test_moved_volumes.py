"""Volumes that are renamed or deleted while what changed in them is sent to the store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rekindle.exception import VolumeFileNotFoundError
from rekindle.volumes.registry import Registry, VolumeRecord
from rekindle.volumes.remote import Folder, of_volume
from tests.volumes.conftest import after_look


def within_look(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Have a change made once, when the top directory was listed, and those in it were not."""
    walk = os.fwalk

    def walked(*arguments: Any, **options: Any) -> Iterator[Any]:
        for number, found in enumerate(walk(*arguments, **options)):
            yield found
            if number == 0:
                monkeypatch.setattr(os, "fwalk", walk)
                change()

    monkeypatch.setattr(os, "fwalk", walked)


def _rename(registry: Registry, record: VolumeRecord) -> None:
    registry.rename(record, "renamed")


def _rename_environment(registry: Registry, record: VolumeRecord) -> None:
    registry.rename_environment(record.environment, "renamed")


def _rename_and_make_another(registry: Registry, record: VolumeRecord) -> None:
    registry.rename(record, "renamed")
    another = registry.create(record.name, record.environment, record.url)
    (another.files / "below").mkdir()
    (another.files / "below" / "file").write_text("of another volume")


def _changed_after_a_push(tmp_path: Path) -> tuple[Registry, VolumeRecord, Folder]:
    """A volume with ``a/b`` and ``below/file``, of which the latter is to be sent again."""
    registry = Registry(tmp_path / "volumes")
    record = registry.create("data", "main", f"file://{tmp_path / 'store'}")
    folder = of_volume(record)
    for name in ("a/b", "below/file"):
        folder.tree.mkdir(name.rpartition("/")[0])
        (record.files / name).write_text("1")
    folder.push()
    (record.files / "below" / "file").write_text("changed")
    return registry, record, folder


@pytest.mark.parametrize("move", [_rename, _rename_environment, _rename_and_make_another])
@pytest.mark.parametrize("during", [within_look, after_look])
def test_a_volume_that_is_renamed_while_it_is_sent_keeps_its_files_here_and_in_the_store(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    move: Callable[[Registry, VolumeRecord], None],
    during: Callable[[pytest.MonkeyPatch, Callable[[], object]], None],
) -> None:
    registry, record, folder = _changed_after_a_push(tmp_path)
    during(monkeypatch, lambda: move(registry, record))
    folder.push()
    monkeypatch.undo()
    moved = registry.by_id(record.id)
    assert (tmp_path / "store" / "a" / "b").read_text() == "1"
    assert (tmp_path / "store" / "below" / "file").read_text() == "changed"
    (moved.files / "new").write_text("written by who has it since before")
    folder.push()
    assert (tmp_path / "store" / "new").exists()
    of_volume(moved).pull()
    assert (moved.files / "a" / "b").read_text() == "1"
    assert (moved.files / "below" / "file").read_text() == "changed"


@pytest.mark.parametrize("during", [within_look, after_look])
def test_a_volume_that_is_deleted_while_it_is_sent_keeps_its_files_in_the_store(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    during: Callable[[pytest.MonkeyPatch, Callable[[], object]], None],
) -> None:
    registry, record, folder = _changed_after_a_push(tmp_path)
    during(monkeypatch, lambda: registry.delete(record))
    with contextlib.suppress(VolumeFileNotFoundError):
        folder.push()
    monkeypatch.undo()
    assert (tmp_path / "store" / "a" / "b").exists()
    assert (tmp_path / "store" / "below" / "file").exists()
    assert {one.name for one in registry.root.rglob("*")} == {".lock", "main"}
    with pytest.raises(VolumeFileNotFoundError, match="was deleted"):
        folder.push()
