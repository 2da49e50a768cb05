"""The store: what is committed stays, what is not leaves nothing, agents do not harm each other."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rekindle.exception import NotFoundError, SnapshotCreateError, SnapshotInvalidError
from rekindle.snapshot.draft import begin
from rekindle.snapshot.store import FIRST_SNAPSHOT, SnapshotStore
from tests.snapshot import sandbox
from tests.snapshot.conftest import commit, ingredients, manifest


def test_a_committed_snapshot_is_found_by_its_key(store: SnapshotStore) -> None:
    made = commit(store)
    found = SnapshotStore(store.root).get(made.key)
    assert found is not None
    assert found.manifest == made.manifest
    assert sorted(p.name for p in found.images.iterdir()) == ["inventory.img", "pages-1.img"]
    assert found.manifest.pages_bytes == 10_000
    assert (found.path / "dump.log").read_text() == "a log"


def test_a_key_that_was_never_made_is_none(store: SnapshotStore) -> None:
    assert store.get(ingredients().key()) is None


@pytest.mark.parametrize("name", ["", "..", "sn-", "sn-../../etc", "sn-" + "0" * 21, "x" * 23])
def test_only_keys_are_looked_up(store: SnapshotStore, name: str) -> None:
    with pytest.raises(NotFoundError, match="no snapshot name"):
        store.get(name)


def test_images_are_private_to_their_user(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir(mode=0o755)
    store = SnapshotStore(root)
    made = commit(store)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700


def test_a_discarded_draft_leaves_nothing(store: SnapshotStore) -> None:
    draft = begin(store, ingredients().key())
    (draft.images / "pages-1.img").write_bytes(b"x" * 1000)
    draft.discard()
    assert names(store) == []
    draft.discard()  # once more does no harm


def test_a_dump_without_inventory_is_not_committed(store: SnapshotStore) -> None:
    draft = begin(store, ingredients().key())
    (draft.images / "pages-1.img").write_bytes(b"x")
    with pytest.raises(SnapshotCreateError, match=r"inventory\.img"):
        draft.commit(manifest(ingredients()))
    assert names(store) == []


def test_a_snapshot_that_cannot_fit_is_not_begun(store: SnapshotStore) -> None:
    with pytest.raises(SnapshotCreateError, match=f"no space left on {store.root}"):
        begin(store, ingredients().key(), needs_bytes=1 << 60)
    assert names(store) == []


_FILL = """
import sys
from pathlib import Path
from rekindle.exception import SnapshotCreateError
from rekindle.snapshot.draft import begin
from rekindle.snapshot.store import SnapshotStore
from tests.snapshot.conftest import ingredients, manifest
store = SnapshotStore(Path(sys.argv[1]))
draft = begin(store, ingredients().key())
(draft.images / "inventory.img").write_bytes(b"x")
with open(draft.images / "pages-1.img", "wb", buffering=0) as pages:
    try:
        while pages.write(b"x" * 65536):
            pass
    except OSError as error:
        print(error)
try:
    draft.commit(manifest(ingredients()))
except SnapshotCreateError as error:
    print(error)
print([path.name for path in store.root.iterdir()])
"""


@pytest.mark.criu  # needs the privileges that CRIU needs
def test_a_disk_that_is_full_at_the_commit_is_named_and_nothing_stays(tmp_path: Path) -> None:
    root = tmp_path / "small"
    root.mkdir()
    with sandbox.namespaces(tmpfs={root: "size=1m"}) as inside:
        done = inside.run([sys.executable, "-c", _FILL, str(root)])
    assert f"no space left on {root}" in done.stdout, done
    assert done.stdout.endswith("['.lock']\n")


# ---- several agents ------------------------------------------------------------------------


def test_of_two_that_make_the_same_snapshot_the_first_stays(store: SnapshotStore) -> None:
    late = begin(store, ingredients().key())
    (late.images / "inventory.img").write_bytes(b"late")
    first = commit(store)
    kept = late.commit(manifest(ingredients()))
    assert kept.manifest == first.manifest
    assert names(store) == [first.key]


def test_a_snapshot_that_is_made_anew_replaces_the_earlier_one(store: SnapshotStore) -> None:
    first = commit(store, created=1.0)
    again = commit(store)
    assert again.manifest.files != first.manifest.files
    found = store.get(first.key)
    assert found is not None
    assert found.manifest == again.manifest
    assert names(store) == [first.key]


def test_a_broken_one_is_replaced(store: SnapshotStore) -> None:
    first = commit(store)
    (first.path / "manifest.json").write_text("{")
    commit(store)
    assert store.get(first.key) is not None


_DRAFT_AND_WAIT = """
import sys
from pathlib import Path
from rekindle.snapshot.draft import begin
from rekindle.snapshot.store import SnapshotStore
from tests.snapshot.conftest import ingredients
draft = begin(SnapshotStore(Path(sys.argv[1])), ingredients().key())
print(draft.path.name, flush=True)
sys.stdin.read()
"""


def test_drafts_of_agents_that_died_are_removed_those_of_live_ones_stay(
    store: SnapshotStore,
) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _DRAFT_AND_WAIT, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert other.stdout
        theirs = other.stdout.readline().strip()
        assert theirs
        store.sweep()
        assert names(store) == [theirs]
        other.send_signal(signal.SIGKILL)
        other.wait()
        ours = begin(store, ingredients().key())
        assert names(store) == [ours.path.name]
        ours.discard()
    finally:
        other.kill()
        other.communicate()


def test_threads_that_commit_and_remove_at_once_leave_a_store_that_can_be_read(
    store: SnapshotStore,
) -> None:
    problems: list[BaseException] = []

    def work(number: int) -> None:
        mine = SnapshotStore(store.root)
        try:
            for _ in range(5):
                made = commit(mine, ingredients(code_digest=str(number % 2)))
                try:
                    mine.remove(made.key)
                except NotFoundError:
                    pass  # another one was quicker
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must fail on it
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert all(entry.snapshot for entry in store.list())
    store.sweep()
    assert not [name for name in names(store) if not name.startswith("sn-")]


# ---- listing and removing ------------------------------------------------------------------


def test_what_cannot_be_read_is_listed_with_the_reason(store: SnapshotStore) -> None:
    good = commit(store)
    broken = {
        "not JSON": "{",
        "not a JSON object": "[]",
        "format 99": json.dumps({"format": 99}),
        "is that of": good.manifest.to_json(),
    }
    for number, text in enumerate(broken.values()):
        directory = store.root / f"sn-{number:020x}"
        directory.mkdir()
        (directory / "manifest.json").write_text(text)
    (store.root / f"sn-{'f' * 20}").mkdir()
    (store.root / f"sn-{'e' * 20}").mkdir()
    (store.root / f"sn-{'e' * 20}" / "manifest.json").write_bytes(b"\xff\xfe")
    listed = {entry.key: entry for entry in store.list()}
    assert listed.pop(good.key).snapshot is not None
    for number, reason in enumerate(broken):
        entry = listed[f"sn-{number:020x}"]
        assert entry.snapshot is None
        assert reason in entry.problem
    assert "missing" in listed[f"sn-{'f' * 20}"].problem
    assert "not text" in listed[f"sn-{'e' * 20}"].problem
    with pytest.raises(SnapshotInvalidError, match="not JSON"):
        store.get(f"sn-{0:020x}")


def test_the_newest_is_listed_first(store: SnapshotStore) -> None:
    keys = [
        commit(store, ingredients(code_digest=str(when)), created=float(when)).key
        for when in (2, 3, 1)
    ]
    assert [entry.key for entry in store.list()] == [keys[1], keys[0], keys[2]]


def test_a_removed_snapshot_is_gone_and_its_size_told(store: SnapshotStore) -> None:
    made = commit(store)
    assert store.usage().snapshots == 1
    assert store.remove(made.key) >= 10_000
    assert store.get(made.key) is None
    assert names(store) == []
    assert store.usage().size_bytes == 0
    with pytest.raises(NotFoundError):
        store.remove(made.key)


def test_pages_stay_readable_for_who_has_them_open_when_they_are_removed(
    store: SnapshotStore,
) -> None:
    made = commit(store)
    with open(made.images / "pages-1.img", "rb") as pages:
        store.remove(made.key)
        assert len(pages.read()) == 10_000


def test_a_prefix_names_a_snapshot_when_it_is_the_only_one(store: SnapshotStore) -> None:
    made = commit(store)
    assert store.resolve(made.key[:8]) == made.key
    assert store.resolve(made.key[3:8]) == made.key
    for nothing in ("", "sn-"):
        with pytest.raises(NotFoundError, match=f"'{nothing}' names no snapshot"):
            store.resolve(nothing)
    twin = f"{made.key[:8]}{'0' * (len(made.key) - 8)}"
    (store.root / twin).mkdir()
    with pytest.raises(NotFoundError, match="short for several"):
        store.resolve(made.key[:8])
    with pytest.raises(NotFoundError, match="no snapshot zzz"):
        store.resolve("zzz")


# ---- why one is made anew ------------------------------------------------------------------


def test_the_manifest_says_why_a_snapshot_was_made(store: SnapshotStore) -> None:
    first = commit(store, created=1.0)
    assert first.manifest.made_because == [FIRST_SNAPSHOT]
    changed = ingredients(packages={"torch": "2.13.1 cc", "numpy": "2.1.0 bb"})
    second = commit(store, changed, created=2.0)
    assert second.manifest.made_because == ["package changed: torch 2.13.0 -> 2.13.1"]
    assert store.reasons(ingredients(function="Other")) == [FIRST_SNAPSHOT]
    assert store.reasons(changed, refused="image file pages-1.img is corrupt") == [
        "image file pages-1.img is corrupt"
    ]


def names(store: SnapshotStore) -> list[str]:
    """What lies in the store, but for its lock."""
    return sorted(name for name in os.listdir(store.root) if name != ".lock")


def test_manifests_of_snapshots_that_are_gone_are_not_kept(store: SnapshotStore) -> None:
    made = [commit(store, ingredients(function=f"f{n}")) for n in range(3)]
    for one in made:
        assert store.get(one.key) is not None
    store.remove(made[0].key)
    assert store.get(made[0].key) is None
    SnapshotStore(store.root).remove(made[1].key)  # another process
    assert [entry.key for entry in store.list()] == [made[2].key]
    assert list(store._manifests) == [made[2].key]
