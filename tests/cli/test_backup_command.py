"""``rekindle backup`` where it cannot be made: what went wrong, what to do, and nothing is left."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import environ
from tests.controller.harness import running_instance
from tests.e2e.harness import COMMAND, SMALL_DISK, plain_user

#: Nobody has this id.
_UID = 61000 + os.getpid() % 1000


@pytest.fixture
def kept() -> Iterator[Path]:
    """What an instance keeps, some hundred KiB: the ``daemon`` of a home."""
    with (
        running_instance(start=False) as made,
        tempfile.TemporaryDirectory(prefix="rk-home-") as home,
    ):
        (made.directory / "instance").write_text("in-0123456789abcdef\n")
        made.start_redis()
        with made.redis_client() as client:
            client.set("large", os.urandom(400_000))
        Path(home).chmod(0o755)
        (Path(home) / "daemon").symlink_to(made.directory)
        yield Path(home) / "daemon"


def refused(kept: Path, place: Path, *launcher: str, left: str = "") -> str:
    """What the command says that is to make a backup in ``place``; what is ``left`` there."""
    line = f"{COMMAND} backup {place}/b; s=$?; ls -A {place}; exit $s"
    ended = subprocess.run(
        [*launcher, "sh", "-c", line],
        env={**environ(kept), "REKINDLE_DIR": "", "REKINDLE_HOME": str(kept.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, left), ended
    assert "Traceback" not in ended.stderr
    assert f"{kept} cannot be copied to {place}/b: " in ended.stderr
    return ended.stderr


def test_a_full_disk_is_told_and_has_nothing_of_it(kept: Path, tmp_path: Path) -> None:
    said = refused(kept, tmp_path, *SMALL_DISK, str(tmp_path), "128k")
    assert "the disk there is full (No space left on device): free space, or name a" in said


def test_a_place_that_is_read_only_is_told(kept: Path, tmp_path: Path) -> None:
    said = refused(kept, tmp_path, *SMALL_DISK, str(tmp_path), "1m,ro")
    assert "nothing can be written there (Read-only file system): name a folder elsewhere" in said


@pytest.mark.needs_root("makes files of two users")
def test_whose_place_and_whose_instance_it_is_is_told(kept: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="rk-backup-") as name:  # all may come here
        place = Path(name)
        place.chmod(0o755)
        said = refused(kept, place, *plain_user(_UID))
        assert f"this user (uid {_UID}) may not read {kept}" in said
        beside = refused(kept, kept.parent, *plain_user(_UID), left="daemon\n")
        assert f"this user (uid {_UID}) may not read {kept}" in beside
        for directory, _, names in os.walk(kept.resolve()):
            for one in (directory, *(os.path.join(directory, name) for name in names)):
                os.chown(one, _UID, _UID)
        said = refused(kept, place, *plain_user(_UID))
        assert f"this user (uid {_UID}) may not write to {place} (Permission denied)" in said
