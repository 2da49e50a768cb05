"""A backup that is copied into an instance's place: cut off anywhere, it does not come up."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rekindle import copied_back, paths
from rekindle.controller.storage import backup
from rekindle.exception import SetupError
from rekindle.wire.blobs import FolderStore, new_key
from tests.controller.harness import Instance, new_id

ORDERS: list[Callable[[list[Path]], object]] = [
    lambda found: found.sort(),
    lambda found: found.sort(reverse=True),
    random.Random(1).shuffle,
    random.Random(2).shuffle,
]


@pytest.fixture
def backed_up(redis_alone: Instance, tmp_path: Path) -> Path:
    """A backup with two blobs."""
    (redis_alone.directory / "instance").write_text("in-0123456789abcdef\n")
    store = FolderStore(redis_alone.directory / "blobs")
    for payload in (b"large", b"larger"):
        store.put(new_key(new_id("fc"), 0, payload), payload)
    with redis_alone.redis_client() as client:
        client.set("acknowledged", "x" * 10_000)
    backup.copy(redis_alone.directory, tmp_path / "backup")
    return tmp_path / "backup"


def test_a_whole_one_is_accepted_and_no_program_comes_back_to_it(backed_up: Path) -> None:
    for _ in range(2):  # the first start may be killed
        copied_back.accept(backed_up)
        assert paths.taken_down_file(backed_up).exists()
    assert not (backed_up / "backup.json").exists()


def test_one_that_another_start_accepts_at_the_same_time_is_accepted(
    backed_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sized = copied_back._size

    def meanwhile(directory: Path) -> object:
        monkeypatch.setattr(copied_back, "_size", sized)
        copied_back.accept(directory)
        FolderStore(directory / "blobs").put(new_key(new_id("fc"), 0, b"of now"), b"of now")
        return sized(directory)

    monkeypatch.setattr(copied_back, "_size", meanwhile)
    copied_back.accept(backed_up)


@pytest.mark.parametrize("order", ORDERS, ids=["up", "down", "some", "other"])
def test_one_that_was_cut_off_is_refused_until_the_copy_is_made_again(
    backed_up: Path, tmp_path: Path, order: Callable[[list[Path]], object]
) -> None:
    found = [path for path in backed_up.rglob("*") if path.is_file() and path.stat().st_size]
    order(found)
    daemon = tmp_path / "daemon"
    for last in found:
        target = daemon / last.relative_to(backed_up)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
        with pytest.raises(SetupError, match=r"not all of a backup is in .*daemon: .*Copy it"):
            copied_back.accept(daemon)
        shutil.copy2(last, target)
    shutil.copytree(backed_up, daemon, dirs_exist_ok=True)
    copied_back.accept(daemon)


def test_one_that_was_copied_into_an_instance_or_over_one_is_refused(
    backed_up: Path, redis_alone: Instance, tmp_path: Path
) -> None:
    daemon = redis_alone.directory
    paths.token_file(daemon).write_text("x")
    copied_back.accept(daemon)
    shutil.copytree(backed_up, daemon / "2026-01-31")
    with pytest.raises(SetupError, match="2026-01-31 is a backup inside of an instance"):
        copied_back.accept(daemon)
    shutil.rmtree(daemon / "2026-01-31")
    copied_back.accept(daemon)
    store = FolderStore(daemon / "blobs")
    store.put(new_key(new_id("fc"), 0, b"of later"), b"of later")
    shutil.copytree(backed_up, daemon, dirs_exist_ok=True)
    with pytest.raises(SetupError, match="files of another instance"):
        copied_back.accept(daemon)


def test_what_has_no_backup_in_it_comes_up_but_not_without_the_name_of_its_queue(
    redis_alone: Instance, tmp_path: Path
) -> None:
    copied_back.accept(tmp_path / "new")
    daemon = redis_alone.directory
    paths.token_file(daemon).write_text("x")
    copied_back.accept(daemon)  # killed before its controller had made the name
    with redis_alone.redis_client() as client:
        client.set("acknowledged", "x" * 10_000)
    with pytest.raises(SetupError, match="no file 'instance'"):
        copied_back.accept(daemon)
    (daemon / "instance").write_text("in-0123456789abcdef\n")
    copied_back.accept(daemon)


def test_one_whose_queue_is_elsewhere_may_have_its_name_and_blobs_alone(tmp_path: Path) -> None:
    (tmp_path / "instance").write_text("in-0123456789abcdef\n")
    FolderStore(tmp_path / "blobs").put(new_key(new_id("fc"), 0, b"large"), b"large")
    with pytest.raises(SetupError, match="not all of a backup"):
        copied_back.accept(tmp_path)
    copied_back.accept(tmp_path, own_queue=False)


def test_parts_of_an_instance_that_was_down_are_accepted_once_that_is_said(
    backed_up: Path,
) -> None:
    (backed_up / "backup.json").unlink()
    with pytest.raises(SetupError, match="is missing") as refused:
        copied_back.accept(backed_up)
    command = str(refused.value).split("`")[1]
    subprocess.run(["sh", "-c", command], check=True)
    copied_back.accept(backed_up)


def test_a_backup_of_a_former_rekindle_which_has_no_note_is_accepted(backed_up: Path) -> None:
    (backed_up / "backup.json").unlink()
    paths.taken_down_file(backed_up).touch()
    copied_back.accept(backed_up)
