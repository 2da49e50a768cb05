"""Making room: the least recently used goes, what is in use stays, mapped pages never change."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rekindle.snapshot import budget, stamp, use, validate
from rekindle.snapshot import store as store_module
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.draft import begin
from rekindle.snapshot.manifest import Manifest
from rekindle.snapshot.store import Snapshot, SnapshotStore
from tests.snapshot import sandbox
from tests.snapshot.conftest import CommitReal, commit, ingredients

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def three(store: SnapshotStore) -> list[Snapshot]:
    """Snapshots that were used one, two and three seconds after the epoch."""
    made = [commit(store, ingredients(code_digest=str(n))) for n in (1, 2, 3)]
    for seconds, snapshot in enumerate(made, 1):
        os.utime(snapshot.path / use.NAME, (seconds, seconds))
    return made


def _keys(store: SnapshotStore) -> set[str]:
    return {entry.key for entry in store.list()}


def test_the_least_recently_used_goes_first(store: SnapshotStore, three: list[Snapshot]) -> None:
    size = store.usage().size_bytes
    removals = store.gc(size - 1)
    assert [one.entry.key for one in removals] == [three[0].key]
    assert removals[0].freed_bytes == size - store.usage().size_bytes
    assert (removals[0].entry.function, removals[0].entry.last_used) == ("Model", 1.0)
    store.touch(three[1].key)
    assert [one.entry.key for one in store.gc(size // 2)] == [three[2].key]
    assert _keys(store) == {three[1].key}
    assert [one.entry.key for one in store.gc(0)] == [three[1].key]


def test_a_dry_run_removes_nothing(store: SnapshotStore, three: list[Snapshot]) -> None:
    would_go = store.gc(0, dry_run=True)
    assert [one.entry.key for one in would_go] == [one.key for one in three]
    assert all(one.freed_bytes >= 10_000 for one in would_go)
    assert len(_keys(store)) == 3


def test_what_cannot_be_read_goes_first(store: SnapshotStore, three: list[Snapshot]) -> None:
    (three[2].path / "manifest.json").write_text("{")
    removals = store.gc(store.usage().size_bytes - 1)
    assert [one.entry.key for one in removals] == [three[2].key]


def test_what_cannot_be_read_just_now_goes_no_sooner_than_others(
    store: SnapshotStore, three: list[Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store_module._read_manifest

    def refused(key: str, path: Path) -> Manifest:
        if key == three[2].key:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return read(key, path)

    monkeypatch.setattr(store_module, "_read_manifest", refused)
    fresh = SnapshotStore(store.root)
    assert any("Too many open files" in entry.problem for entry in fresh.list())
    removals = fresh.gc(fresh.usage().size_bytes - 1)
    assert [one.entry.key for one in removals] == [three[0].key]


def test_a_commit_makes_room_for_itself(
    store: SnapshotStore, three: list[Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(budget.VARIABLE, "1")
    last = commit(store, ingredients(code_digest="4"))
    assert _keys(store) == {last.key}  # and stays, though it is over the budget


def test_a_bad_budget_does_not_fail_a_commit(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(budget.VARIABLE, "a lot")
    assert store.get(commit(store).key) is not None


def test_a_draft_that_needs_room_gets_it(
    store: SnapshotStore, three: list[Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = store.usage().size_bytes

    class Disk:
        total = 1 << 40

        @property
        def free(self) -> int:
            return 4096 + size - sum(entry.size_bytes for entry in store.list())

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Disk())
    begin(store, ingredients(code_digest="4").key(), needs_bytes=8192).discard()
    assert _keys(store) == {three[1].key, three[2].key}


# ---- pins ----------------------------------------------------------------------------------


def test_a_pinned_snapshot_stays_until_it_is_released(
    store: SnapshotStore, three: list[Snapshot]
) -> None:
    first, second = store.pin(three[0].key), store.pin(three[0].key)
    assert first is not None
    assert second is not None
    listed = {entry.key: entry.in_use for entry in store.list()}
    assert listed == {three[0].key: True, three[1].key: False, three[2].key: False}
    assert len(store.gc(0)) == 2
    first.release()
    first.release()
    assert store.gc(0) == []
    second.release()
    assert [one.entry.key for one in store.gc(0)] == [three[0].key]


_PIN_AND_WAIT = """
import sys
from pathlib import Path
from rekindle.snapshot.draft import begin
from rekindle.snapshot.store import SnapshotStore
pin = SnapshotStore(Path(sys.argv[1])).pin(sys.argv[2])
print(pin is not None, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def pinning(store: SnapshotStore) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts processes that pin a snapshot until they die."""
    started: list[subprocess.Popen[str]] = []

    def start(key: str) -> subprocess.Popen[str]:
        other = subprocess.Popen(
            [sys.executable, "-c", _PIN_AND_WAIT, str(store.root), key],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        started.append(other)
        assert other.stdout
        assert other.stdout.readline() == "True\n"
        return other

    yield start
    for other in started:
        other.kill()
        other.communicate()


def test_the_pin_of_another_process_goes_when_that_is_killed(
    store: SnapshotStore, pinning: Callable[[str], subprocess.Popen[str]]
) -> None:
    made = commit(store)
    other = pinning(made.key)
    assert store.gc(0) == []
    other.kill()
    other.wait()
    assert [one.entry.key for one in store.gc(0)] == [made.key]


def test_a_snapshot_that_is_gone_cannot_be_pinned_or_touched(store: SnapshotStore) -> None:
    made = commit(store)
    store.remove(made.key)
    assert store.pin(made.key) is None
    store.touch(made.key)
    assert store.pin(ingredients(code_digest="never made").key()) is None


def test_a_pin_is_one_of_the_snapshot_that_is_there_now(store: SnapshotStore) -> None:
    old = store.pin(commit(store, created=1.0).key)
    made = commit(store)  # in the other one's place: a pin does not keep that from happening
    assert old is not None
    assert [one.entry.key for one in store.gc(0)] == [made.key]
    old.release()


# ---- what processes have mapped ------------------------------------------------------------


def test_mapped_pages_never_change_whatever_becomes_of_the_snapshot(store: SnapshotStore) -> None:
    made = commit(store, created=1.0)
    with open(made.images / "pages-1.img", "rb") as pages:
        content = pages.read()
        with mmap.mmap(pages.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            again = commit(store)  # in its place
            assert mapped[:] == content
            store.gc(0)
            store.sweep()
            assert mapped[:] == content
            assert not again.path.exists()


def test_nothing_in_the_room_truncates_or_writes_files_in_place() -> None:
    # A page file that shrinks under a runner kills it (SIGBUS); one that changes is worse.
    room = _ROOT / "rekindle" / "snapshot"
    found = {
        path.name
        for path in room.glob("*.py")
        if any(word in path.read_text() for word in ("truncate(", '"r+b"', '"ab"', "O_WRONLY"))
    }
    assert found == set()


@pytest.mark.criu
def test_a_mapped_restore_works_after_the_others_went_and_its_runner_keeps_it(
    criu: Criu, commit_real: CommitReal, store: SnapshotStore
) -> None:
    others = [commit(store, ingredients(code_digest=str(n))) for n in range(3)]
    snapshot = commit_real()
    pin = store.pin(snapshot.key)
    assert pin is not None
    with sandbox.restored(criu, snapshot.mapped, snapshot.manifest.control_pipe) as runner:
        assert runner.rc == 0, runner.log
        assert {one.entry.key for one in store.gc(0)} == {one.key for one in others}
        assert runner.inside.answer() == "42"
        validate.validate_images(snapshot)
        with sandbox.restored(criu, snapshot.mapped, snapshot.manifest.control_pipe) as second:
            assert second.rc == 0, second.log
            assert second.inside.answer() == "42"
        pin.release()
        assert [one.entry.key for one in store.gc(0)] == [snapshot.key]
        assert runner.inside.answer() == "43"  # its pages are still there
    assert not stamp.read(snapshot.path).boot
