"""Lazy files, by real FUSE: what is read, what is fetched for it, and what becomes of failures."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from lab.unwell import Conduct
from rekindle.blobs import erofs, transfer
from rekindle.blobs.lazy.client import LazyFiles
from rekindle.blobs.store import BlobStore
from rekindle.exception import BlobError, BlobNotFoundError, BlobRoomError, SetupError
from rekindle.linux.plain_descriptors import readable
from tests.blobs.conftest import StartLazy
from tests.blobs.machine import needs_fuse, small_disk
from tests.e2e.harness import wait_until

pytestmark = needs_fuse

_CHUNK = 1 << 16


def _pushed(store: BlobStore, tmp_path: Path, data: bytes) -> str:
    path = tmp_path / f"file-{os.urandom(4).hex()}"
    path.write_bytes(data)
    return transfer.push(store, path, chunk_bytes=_CHUNK).blob


def _read(path: Path, offset: int, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # without the kernel's own read-ahead
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def test_what_is_touched_is_fetched_and_what_was_touched_before_comes_first(
    store: BlobStore, tmp_path: Path, start_lazy: StartLazy
) -> None:
    data = os.urandom(100 * _CHUNK)
    blob = _pushed(store, tmp_path, data)
    files = start_lazy(store.url)
    path = files.open(blob)
    assert path.stat().st_size == len(data)
    for number in (70, 3, 41):
        at = number * _CHUNK + 100
        assert _read(path, at, 10) == data[at : at + 10]
    touched = files.touched(blob)
    assert touched.chunks == [70, 3, 41]
    assert touched.received_bytes < 5 * _CHUNK
    store.put_hint(blob, touched.chunks)
    other = start_lazy(store.url, cache=tmp_path / "other")
    path = other.open(blob)
    wait_until(lambda: other.disk_bytes() >= 3 * _CHUNK, "what was touched before")
    assert other.touched(blob).chunks == []


def test_a_password_of_the_store_is_in_no_list_of_processes_and_no_message(
    unwell_store: BlobStore, folder: Path, tmp_path: Path, start_lazy: StartLazy
) -> None:
    blob = _pushed(unwell_store, tmp_path, b"content")
    files = start_lazy(f"unwell://someone:swordfish@{folder}")
    assert files.open(blob).read_bytes() == b"content"
    serving = psutil.Process(files.pid)
    for one in (serving, *serving.children()):
        assert one.cmdline() and "swordfish" not in " ".join(one.cmdline())
    with pytest.raises(BlobNotFoundError) as caught:
        files.open("0" * 64)
    assert "unwell://someone:***@" in str(caught.value)
    serving.kill()
    with pytest.raises(BlobError, match=r"unwell://someone:\*\*\*@.* has ended"):
        while True:
            files.open(blob)


def test_a_sequential_reader_and_mappings_get_the_bytes_that_were_put(
    store: BlobStore, tmp_path: Path, start_lazy: StartLazy
) -> None:
    data = os.urandom(200 * _CHUNK + 77)
    blob = _pushed(store, tmp_path, data)
    files = start_lazy(store.url)
    path = files.open(blob)
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        assert mapped[-50:] == data[-50:]
        assert file.read() == data
        assert mapped[:] == data
        mapped.close()


def test_when_all_is_here_it_becomes_an_ordinary_file_and_who_has_it_mapped_keeps_it(
    store: BlobStore, tmp_path: Path, start_lazy: StartLazy
) -> None:
    data = os.urandom(50 * _CHUNK)
    blob = _pushed(store, tmp_path, data)
    files = start_lazy(store.url)
    path = files.open(blob, [])
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    files.rest(blob).result(30)
    files.place(blob, tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == data
    assert mapped[:] == data
    assert _read(path, 5 * _CHUNK, 9) == data[5 * _CHUNK : 5 * _CHUNK + 9]
    mapped.close()


def test_what_was_given_up_and_is_opened_again_arrives_again(
    unwell_store: BlobStore, folder: Path, tmp_path: Path, start_lazy: StartLazy
) -> None:
    data = os.urandom(50 * _CHUNK)
    blob = _pushed(unwell_store, tmp_path, data)
    files = start_lazy(unwell_store.url)
    Conduct(latency_s=0.02).begin(folder)
    for number, held in enumerate((False, True, False)):
        path = files.open(blob, [])
        with open(path, "rb") if held else contextlib.nullcontext():
            files.rest(blob).result(30)
            files.place(blob, tmp_path / f"whole-{number}")
            files.give_up(blob)
            files.open(blob, [])
            files.rest(blob).result(30)
            files.place(blob, tmp_path / f"again-{number}")
            files.give_up(blob)
        for name in ("whole", "again"):
            assert (tmp_path / f"{name}-{number}").read_bytes() == data


def test_who_waits_for_all_of_a_file_is_told_that_a_part_is_lost_and_its_room_is_free_again(
    store: BlobStore, folder: Path, tmp_path: Path, start_lazy: StartLazy
) -> None:
    blob = _pushed(store, tmp_path, os.urandom(50 * _CHUNK))
    other = _pushed(store, tmp_path, os.urandom(50 * _CHUNK))
    files = start_lazy(store.url, budget_bytes=60 * _CHUNK)
    chunk = store.index(blob).chunks[30]
    place = folder / "chunks" / chunk[:2] / chunk
    place.rename(tmp_path / "away")
    files.open(blob, [])
    with pytest.raises(BlobNotFoundError, match=chunk):
        files.rest(blob).result(30)
    assert chunk in files.failures[blob]
    (tmp_path / "away").rename(place)
    files.rest(blob).result(30)  # somebody put it there again
    files.give_up(blob)
    files.open(other, [])
    files.rest(other).result(30)


def test_who_waits_for_all_of_a_file_is_told_that_it_is_given_up(
    unwell_store: BlobStore, folder: Path, tmp_path: Path, start_lazy: StartLazy
) -> None:
    data = os.urandom(50 * _CHUNK)
    blob = _pushed(unwell_store, tmp_path, data)
    files = start_lazy(unwell_store.url)
    path = files.open(blob, [])
    Conduct(stalled=True).begin(folder)
    rest = files.rest(blob)
    files.give_up(blob)
    with pytest.raises(BlobError, match=r"given up|is not open"):  # whichever order came first
        rest.result(30)
    Conduct().begin(folder)
    files.open(blob, [])
    assert path.read_bytes() == data


def test_what_has_arrived_is_there_for_the_next_process(
    store: BlobStore, folder: Path, tmp_path: Path, start_lazy: StartLazy
) -> None:
    data = os.urandom(10 * _CHUNK)
    blob = _pushed(store, tmp_path, data)
    first = start_lazy(store.url)
    first.open(blob, [])
    first.rest(blob).result(30)
    first.close()
    for chunk in (folder / "chunks").glob("*/*"):
        chunk.unlink()
    assert start_lazy(store.url).open(blob, []).read_bytes() == data


def test_a_reader_waits_for_a_store_that_stalls_and_then_gets_an_error_that_says_why(
    unwell_store: BlobStore, folder: Path, tmp_path: Path, start_lazy: StartLazy
) -> None:
    data = os.urandom(40 * _CHUNK)
    blob = _pushed(unwell_store, tmp_path, data)
    files = start_lazy(unwell_store.url, wait_s=1.0)
    path = files.open(blob, [])
    assert _read(path, 0, 5) == data[:5]
    Conduct(stalled=True).begin(folder)
    # More than the store is asked at a time: who reads what is here waits for none of them.
    failed: list[int] = []

    def read(number: int) -> None:
        try:
            _read(path, number * _CHUNK, 5)
        except OSError:
            failed.append(number)

    readers = [threading.Thread(target=read, args=(number,)) for number in range(10, 34)]
    for reader in readers:
        reader.start()
    assert _read(path, 0, 5) == data[:5]
    for reader in readers:
        reader.join()
    assert sorted(failed) == list(range(10, 34))
    wait_until(lambda: blob in files.failures, "why it failed")
    assert blob in files.failures[blob] and unwell_store.url in files.failures[blob]
    Conduct().begin(folder)  # the store is back, and so is the file
    assert path.read_bytes() == data


def test_a_store_that_was_down_in_the_middle_is_only_waited_for(
    unwell_store: BlobStore, folder: Path, tmp_path: Path, start_lazy: StartLazy
) -> None:
    data = os.urandom(40 * _CHUNK)
    blob = _pushed(unwell_store, tmp_path, data)
    files = start_lazy(unwell_store.url)
    path = files.open(blob, [])
    Conduct(down=True).begin(folder)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    reader.join(0.3)
    assert reader.is_alive()
    Conduct(fail_one_in=10).begin(folder)
    reader.join()
    assert got == [data]


def test_wrong_bytes_never_arrive(
    unwell_store: BlobStore, folder: Path, tmp_path: Path, start_lazy: StartLazy
) -> None:
    data = os.urandom(20 * _CHUNK)
    blob = _pushed(unwell_store, tmp_path, data)
    Conduct(flips=4).begin(folder)
    path = start_lazy(unwell_store.url).open(blob, [])
    assert path.read_bytes() == data  # the flipped ones came again
    chunk = next((folder / "chunks").glob("*/*"))
    chunk.write_bytes(os.urandom(1000))
    other = start_lazy(unwell_store.url, cache=tmp_path / "other")
    with pytest.raises(OSError, match="Input/output"):
        other.open(blob, []).read_bytes()
    wait_until(lambda: blob in other.failures, "why it failed")
    assert chunk.name in other.failures[blob] and "damaged" in other.failures[blob]


@pytest.mark.needs_root("mounts a small disk")
def test_a_full_disk_is_an_error_that_names_it(
    store: BlobStore, tmp_path: Path, start_lazy: StartLazy
) -> None:
    blob = _pushed(store, tmp_path, os.urandom(40 * _CHUNK))
    with small_disk(tmp_path / "disk", 12 * _CHUNK) as disk:
        files = start_lazy(store.url, cache=disk / "cache")
        with pytest.raises(OSError, match="Input/output"):
            files.open(blob, []).read_bytes()
        wait_until(lambda: blob in files.failures, "why it failed")
        assert "No space left" in files.failures[blob] and str(disk) in files.failures[blob]
        files.close()


def test_the_least_recently_used_goes_and_never_what_is_open(
    store: BlobStore, tmp_path: Path, start_lazy: StartLazy
) -> None:
    blobs = [_pushed(store, tmp_path, os.urandom(10 * _CHUNK)) for _ in range(4)]
    files = start_lazy(store.url, budget_bytes=25 * _CHUNK)
    cache = tmp_path / "cache"
    with open(files.open(blobs[0], []), "rb") as first:
        first.read()
        files.give_up(blobs[0])  # but it is open
        files.open(blobs[1], []).read_bytes()
        with pytest.raises(BlobRoomError, match="REKINDLE_LAZY_BYTES"):
            files.open(blobs[2], [])
        files.give_up(blobs[1])
        files.open(blobs[2], []).read_bytes()
        assert not list(cache.glob(f"{blobs[1]}*"))
        assert list(cache.glob(f"{blobs[0]}*"))
        first.seek(0)
        assert len(first.read()) == 10 * _CHUNK


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGKILL, "has ended;"), (signal.SIGTERM, "has ended: .*SIGTERM")]
)
def test_readers_get_errors_and_no_mount_is_left_when_the_process_is_killed(
    unwell_store: BlobStore,
    folder: Path,
    tmp_path: Path,
    start_lazy: StartLazy,
    number: signal.Signals,
    why: str,
) -> None:
    blob = _pushed(unwell_store, tmp_path, os.urandom(10 * _CHUNK))
    files = start_lazy(unwell_store.url)
    path = files.open(blob, [])
    Conduct(stalled=True).begin(folder)
    errors: list[OSError] = []

    def read() -> None:
        try:
            path.read_bytes()
        except OSError as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    unmounter = os.pidfd_open(psutil.Process(files.pid).children()[0].pid)
    os.kill(files.pid, number)
    reader.join()
    assert len(errors) == 1
    with pytest.raises(BlobError, match=why):
        files.open(blob)
    # Whose child it is now, and who reaps it, is another matter: it has ended.
    assert readable([unmounter], 30)
    os.close(unmounter)
    assert str(files.mountpoint) not in Path("/proc/mounts").read_text()
    assert not files.mountpoint.exists()
    assert unwell_store.url in files.ended
    # No zombie stays with its owner, who asks for nothing any more.
    wait_until(lambda: not psutil.pid_exists(files.pid), "the end of what served")


_OWNER = """
import os, sys
from rekindle.blobs.lazy.client import LazyFiles, Settings
url, mountpoint, folder, blob = sys.argv[1:]
files = LazyFiles.start(Settings(url, mountpoint, folder, 1 << 30))
held = open(files.open(blob, []), "rb")
print(files.pid, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_when_the_owner_is_killed(store: BlobStore, tmp_path: Path) -> None:
    blob = _pushed(store, tmp_path, os.urandom(3 * _CHUNK))
    mountpoint = tmp_path / "mount"
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, store.url, str(mountpoint), str(tmp_path / "cache"), blob],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        server = psutil.Process(int(owner.stdout.readline()))
        (unmounter,) = server.children()
        owner.kill()
        psutil.wait_procs([server, unmounter], timeout=60)
    assert not server.is_running() and not unmounter.is_running()
    assert str(mountpoint) not in Path("/proc/mounts").read_text()
    assert not mountpoint.exists()


def test_an_unknown_blob_is_said_at_once(
    store: BlobStore, tmp_path: Path, start_lazy: StartLazy
) -> None:
    files = start_lazy(store.url)
    with pytest.raises(BlobNotFoundError, match="there is no blob"):
        files.open("0" * 64)
    with pytest.raises(FileNotFoundError):
        (files.mountpoint / ("1" * 64)).read_bytes()
    with pytest.raises(OSError, match="Read-only"):
        (files.mountpoint / "new").touch()


def test_a_directory_is_mounted_before_it_has_arrived(
    store: BlobStore, tmp_path: Path, start_lazy: StartLazy
) -> None:
    try:
        erofs.find()
    except SetupError as error:
        pytest.skip(str(error))
    source = tmp_path / "source"
    source.mkdir()
    (source / "small").write_text("here")
    (source / "large").write_bytes(os.urandom(100 * _CHUNK))
    erofs.make(source, tmp_path / "layer")
    blob = transfer.push(store, tmp_path / "layer", chunk_bytes=_CHUNK).blob
    files: LazyFiles = start_lazy(store.url)
    place = tmp_path / "place"
    place.mkdir()
    erofs.mount(files.open(blob, []), place)
    try:
        assert (place / "small").read_text() == "here"
        assert files.touched(blob).received_bytes < 20 * _CHUNK
        assert (place / "large").read_bytes() == (source / "large").read_bytes()
    finally:
        erofs.unmount(place)
