"""A copy of an instance that is being written to has all that was acknowledged before it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from rekindle import paths
from rekindle.controller.storage import backup, elsewhere
from rekindle.exception import InvalidError, SetupError
from rekindle.wire.blobs import FolderStore, new_key
from tests import power_cut, unlistable
from tests.controller.harness import PATIENCE_S, Instance, new_id, running_instance

_KILLED = """
import os, signal, sys
from pathlib import Path
from rekindle.controller.storage import backup

backup._copy_blobs = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # it is just within
backup.copy(*map(Path, sys.argv[1:]))
"""


def rewrite(client: redis.Redis) -> None:
    """Have the server write its file anew, and wait until it has."""
    before = client.info("persistence")["aof_rewrites"]
    client.bgrewriteaof()
    deadline = time.monotonic() + PATIENCE_S
    while (
        client.info("persistence")["aof_rewrites"] == before
        or (client.info("persistence")["aof_rewrite_in_progress"])
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # it gives no event


def test_it_is_whole_though_the_server_writes_its_file_anew_meanwhile(
    redis_alone: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (redis_alone.directory / "instance").write_text("in-0123456789abcdef\n")
    named_in, rewritten = backup._named_in, 0
    with redis_alone.redis_client() as client:
        client.set("before", 1)

        def rewrite_first(manifest: bytes) -> Iterator[str]:
            """Twice, what was just named is gone before it is opened."""
            nonlocal rewritten
            if rewritten < 2:
                rewritten += 1
                rewrite(client)
            return named_in(manifest)

        monkeypatch.setattr(backup, "_named_in", rewrite_first)
        backup.copy(redis_alone.directory, tmp_path / "copy")
        client.set("after", 1)
    assert rewritten == 2
    with running_instance(start=False) as other:
        (tmp_path / "copy" / "redis").rename(other.directory / "redis")
        other.start_redis()
        with other.redis_client() as client:
            assert client.keys() == [b"before"]


def test_files_that_the_server_is_just_removing_are_not_needed() -> None:
    manifest = b"file a seq 2 type b\nfile gone seq 1 type h\nfile c seq 3 type i\n"
    assert list(backup._named_in(manifest)) == ["a", "c"]


def test_of_blobs_it_has_the_whole_ones_and_nothing_by_which_programs_use_the_instance(
    redis_alone: Instance, tmp_path: Path
) -> None:
    (redis_alone.directory / "instance").write_text("in-0123456789abcdef\n")
    store = FolderStore(redis_alone.directory / "blobs")
    key = new_key(new_id("fc"), 0, b"large")
    store.put(key, b"large")
    (store.root / "drafts" / "of a writer").write_bytes(b"la")
    assert backup.copy(redis_alone.directory, tmp_path / "copy").blobs == 1
    assert FolderStore(tmp_path / "copy" / "blobs").get(key) == b"large"
    assert not (tmp_path / "copy" / "blobs" / "drafts").exists()
    assert (tmp_path / "copy" / "instance").read_text() == "in-0123456789abcdef\n"
    assert not paths.token_file(tmp_path / "copy").exists()


def test_no_blob_may_be_removed_while_it_is_made(
    redis_alone: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (redis_alone.directory / "instance").write_text("in-0123456789abcdef\n")
    seen = []

    def looks(step: Callable[[Path, Path], Any]) -> Callable[[Path, Path], Any]:
        def looked(source: Path, target: Path) -> Any:
            with backup.removing(redis_alone.directory) as may:
                seen.append(may)
            return step(source, target)

        return looked

    monkeypatch.setattr(backup, "_copy_queue", looks(backup._copy_queue))
    monkeypatch.setattr(backup, "_copy_blobs", looks(backup._copy_blobs))
    backup.copy(redis_alone.directory, tmp_path / "copy")
    assert seen == [False, False]
    with backup.removing(redis_alone.directory) as may:
        assert may


def test_of_two_copies_to_one_folder_the_second_one_fails(
    redis_alone: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (redis_alone.directory / "instance").write_text("in-0123456789abcdef\n")
    copy_blobs = backup._copy_blobs
    with redis_alone.redis_client() as client:

        def copy_after_the_first(source: Path, target: Path) -> list[int]:
            if not (tmp_path / "copy").exists():
                (tmp_path / "copy" / "of another").mkdir(parents=True)
            return copy_blobs(source, target)

        client.set("acknowledged", 1)
        monkeypatch.setattr(backup, "_copy_blobs", copy_after_the_first)
        with pytest.raises(OSError, match="not empty"):
            backup.copy(redis_alone.directory, tmp_path / "copy")
    assert [one.name for one in tmp_path.iterdir()] == ["copy"]
    assert [one.name for one in (tmp_path / "copy").iterdir()] == ["of another"]


def test_what_an_instance_keeps_elsewhere_is_said_whatever_the_environment_of_who_copies(
    tmp_path: Path,
) -> None:
    with running_instance() as first:
        assert backup.copy(first.directory, tmp_path / "all").missing == ""
        first.end_controller()
        first.environ["REKINDLE_BLOB_URL"] = str(tmp_path / "blobs")
        first.start_controller()
        name = (first.directory / "instance").read_text().strip()
        copied = backup.copy(first.directory, tmp_path / "without blobs")
        assert copied.missing == f"{tmp_path}/blobs/{name}"
        assert elsewhere.read(tmp_path / "without blobs").blobs == copied.missing  # for `up`
        first.end_controller()
        del first.environ["REKINDLE_BLOB_URL"]
        with running_instance(start=False) as other:
            other.start_redis()
            url = f"unix://{other.directory}/redis.sock"
            first.environ["REKINDLE_REDIS_URL"] = url
            first.start_controller()
            first.end_controller()
            # It has a queue: one of former times.
            with pytest.raises(SetupError, match=f"in the Redis at {url}"):
                backup.copy(first.directory, tmp_path / "copy")
        del first.environ["REKINDLE_REDIS_URL"]
        first.start_controller()
        assert backup.copy(first.directory, tmp_path / "again").missing == ""


def test_a_copy_that_cannot_be_says_why_and_leaves_nothing(
    redis_alone: Instance, tmp_path: Path
) -> None:
    (redis_alone.directory / "instance").write_text("in-0123456789abcdef\n")
    (tmp_path / "there").mkdir()
    with pytest.raises(SetupError, match="there already"):
        backup.copy(redis_alone.directory, tmp_path / "there")
    with pytest.raises(SetupError, match="is in what is to be copied"):
        backup.copy(redis_alone.directory, redis_alone.directory / "blobs" / "copy")
    with pytest.raises(InvalidError, match=r"is in .*/link, which is no folder"):
        (redis_alone.directory / "file").touch()
        (tmp_path / "link").symlink_to(redis_alone.directory / "file")
        backup.copy(redis_alone.directory, tmp_path / "link" / "copy")
    (tmp_path / "link").unlink()
    with pytest.raises(SetupError, match="no queue"):
        backup.copy(tmp_path, tmp_path / "copy")
    (file,) = (redis_alone.directory / "redis" / "appendonlydir").glob("*.incr.aof")
    file.rename(tmp_path / "kept")
    with pytest.raises(FileNotFoundError, match=file.name):
        backup.copy(redis_alone.directory, tmp_path / "copy")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "there"]


def test_what_a_copy_that_was_killed_has_left_goes_with_the_next_one_and_nothing_else(
    redis_alone: Instance, tmp_path: Path
) -> None:
    name = redis_alone.directory / "instance"
    name.write_text("in-0123456789abcdef\n")
    argv = [sys.executable, "-c", _KILLED, redis_alone.directory, tmp_path / "killed"]
    assert subprocess.run(argv, check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".draft-backup-") and (left / "redis").is_dir()
    name.write_text("in-0123456789abcdee\n")
    backup.copy(redis_alone.directory, tmp_path / "another's")
    assert left.is_dir()
    name.write_text("in-0123456789abcdef\n")
    backup.copy(redis_alone.directory, tmp_path / "next")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["another's", "next"]


def test_a_second_copy_waits_for_the_first_one_and_says_so(
    redis_alone: Instance, tmp_path: Path
) -> None:
    (redis_alone.directory / "instance").write_text("in-0123456789abcdef\n")
    waits, ended = threading.Event(), threading.Event()

    def second() -> None:
        backup.copy(redis_alone.directory, tmp_path / "second", lambda _: waits.set())
        ended.set()

    thread = threading.Thread(target=second)
    with backup.nothing_removed(redis_alone.directory):
        thread.start()
        assert waits.wait(PATIENCE_S)
        assert not ended.is_set() and not list(tmp_path.iterdir())
    assert ended.wait(PATIENCE_S)
    thread.join()


def test_of_two_copies_at_once_to_one_folder_the_one_that_waited_says_that_it_is_there(
    redis_alone: Instance, tmp_path: Path
) -> None:
    (redis_alone.directory / "instance").write_text("in-0123456789abcdef\n")
    with (
        ThreadPoolExecutor(1) as pool,
        backup.nothing_removed(redis_alone.directory),
    ):
        waits = threading.Event()
        second = pool.submit(
            backup.copy, redis_alone.directory, tmp_path / "copy", lambda _: waits.set()
        )
        assert waits.wait(PATIENCE_S)
        (tmp_path / "copy").mkdir()
    with pytest.raises(SetupError, match="there already"):
        second.result()


def test_a_copy_lacks_no_blobs_that_could_not_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in ("fc-1", "fc-2"):
        (tmp_path / "blobs" / call).mkdir(parents=True)
        (tmp_path / "blobs" / call / "0").write_bytes(b"blob")
    assert backup._copy_blobs(tmp_path / "blobs", tmp_path / "copy") == [4, 4]
    assert backup._copy_blobs(tmp_path / "none", tmp_path / "copy") == []
    unlistable.make(monkeypatch, tmp_path / "blobs" / "fc-2")
    with pytest.raises(PermissionError):
        backup._copy_blobs(tmp_path / "blobs", tmp_path / "copy")


@power_cut.needed
def test_a_copy_that_is_done_is_there_after_a_power_cut(
    redis_alone: Instance, tmp_path: Path
) -> None:
    (redis_alone.directory / "instance").write_text("in-0123456789abcdef\n")
    with power_cut.mounted(tmp_path) as disk:
        backup.copy(redis_alone.directory, disk.root / "copy")
        (disk.root / "later").write_text("not written")
        disk.cut_power(at_once=True)
        assert (disk.root / "copy" / "instance").read_text() == "in-0123456789abcdef\n"
        assert not (disk.root / "later").exists()  # so it was a power cut
