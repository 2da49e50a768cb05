"""Files put into a store by a process of its own."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil
import pytest

from rekindle.blobs import transfer
from rekindle.blobs.pushing import push_apart
from rekindle.blobs.store import BlobStore, open_store
from rekindle.exception import BlobStoreError
from tests.e2e.harness import wait_until


def test_it_puts_what_it_is_given_and_ends_well(store: BlobStore, tmp_path: Path) -> None:
    files = []
    for number in range(3):
        files.append(tmp_path / f"file-{number}")
        files[-1].write_bytes(os.urandom(100_000 * (number + 1)))
    for _ in range(3):
        pushed = push_apart(store.url, files)
        assert [one.size for one in pushed] == [100_000, 200_000, 300_000]
    transfer.fetch(store, pushed[1].blob, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == files[1].read_bytes()


def test_what_goes_wrong_is_said_and_it_can_be_given_up(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BlobStoreError, match="no-such-file"):
        push_apart(store.url, [tmp_path / "no-such-file"])
    (tmp_path / "file").write_bytes(os.urandom(100))
    os.mkfifo(tmp_path / "never")
    with pytest.raises(BlobStoreError, match="given up"):
        push_apart(store.url, [tmp_path / "never"], lambda: True)


def test_a_password_in_the_url_is_in_no_list_of_processes_and_no_message(
    unwell_store: BlobStore, folder: Path, tmp_path: Path
) -> None:
    store = open_store(f"unwell://someone:swordfish@{folder}")
    (tmp_path / "file").write_bytes(b"content")
    (pushed,) = push_apart(store.address, [tmp_path / "file"])
    assert unwell_store.index(pushed.blob).size == len(b"content")
    assert store.url == f"unwell://someone:***@{folder}"
    os.mkfifo(tmp_path / "never")
    stopped, said = threading.Event(), []

    def push() -> None:
        try:
            push_apart(store.address, [tmp_path / "never"], stopped.is_set)
        except BlobStoreError as error:
            said.append(str(error))

    pushing = threading.Thread(target=push)
    pushing.start()
    try:
        # It gives way once it runs: by then it has its arguments.
        children = psutil.Process().children
        wait_until(lambda: any(map(_niceness, children())), "the process")
        (process,) = filter(_niceness, children())
        assert "swordfish" not in " ".join(process.cmdline())
    finally:
        stopped.set()
        pushing.join()
    assert said == [f"putting files into {store.url} was given up"]


@pytest.mark.parametrize(("overwrite", "niceness"), [(False, 19), (True, 5)])
def test_it_gives_way_to_other_work_but_what_mends_damage_is_not_starved_by_it(
    store: BlobStore, tmp_path: Path, overwrite: bool, niceness: int
) -> None:
    os.mkfifo(tmp_path / "file")
    stopped = threading.Event()

    def push() -> None:
        with pytest.raises(BlobStoreError, match="given up"):
            push_apart(store.url, [tmp_path / "file"], stopped.is_set, overwrite=overwrite)

    pushing = threading.Thread(target=push)
    pushing.start()
    try:
        wanted = min(19, os.nice(0) + niceness)  # these tests may give way to others themselves
        wait_until(lambda: wanted in map(_niceness, psutil.Process().children()), "the process")
    finally:
        stopped.set()
        pushing.join()


def _niceness(process: psutil.Process) -> int:
    try:
        return process.nice() if "rekindle.blobs.pushing" in process.cmdline() else 0
    except psutil.Error:
        return 0
