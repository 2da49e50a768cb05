"""A copy of an instance that is being written to has all that was acknowledged before it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from rekindle import paths
from rekindle.controller.storage import backup
from rekindle.exception import SetupError
from rekindle.wire.blobs import FolderStore, new_key
from tests import unlistable
from tests.controller.harness import PATIENCE_S, Instance, new_id, running_instance


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


def test_of_blobs_it_has_the_whole_ones_and_no_program_comes_back_to_it(
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
    assert paths.taken_down_file(tmp_path / "copy").exists()
    assert not paths.token_file(tmp_path / "copy").exists()


def test_a_copy_that_cannot_be_says_why_and_leaves_nothing(
    redis_alone: Instance, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(SetupError, match="there already"):
        backup.copy(redis_alone.directory, tmp_path / "there")
    with pytest.raises(SetupError, match="no queue"):
        backup.copy(tmp_path, tmp_path / "copy")
    (file,) = (redis_alone.directory / "redis" / "appendonlydir").glob("*.incr.aof")
    file.rename(tmp_path / "kept")
    with pytest.raises(FileNotFoundError, match=file.name):
        backup.copy(redis_alone.directory, tmp_path / "copy")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "there"]


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
