"""A process that is killed while it commits leaves a store that can be used as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.snapshot import content, validate
from rekindle.snapshot.draft import begin
from rekindle.snapshot.store import SnapshotStore
from tests.snapshot.conftest import ingredients

#: Commits two snapshots with one page file in common, the first one anew, and removes one; dies
#: by SIGKILL just before the given call of the given function, and tells how many calls there were.
_PROGRAM = """
import os, signal, sys
from pathlib import Path
from rekindle.snapshot import content, files, seal, stamp, store as store_room, use
from rekindle.snapshot.draft import begin
from tests.snapshot.conftest import ingredients, manifest

root, module, name, at = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
place = {"os": os, "files": files, "seal": seal, "stamp": stamp, "content": content, "use": use}
place = place[module]
real, calls = getattr(place, name), 0

def counting(*args, **kwargs):
    global calls
    if str(root) in str(args) or name == "rewrite":
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)

store = store_room.SnapshotStore(root)

def commit(code, pages):
    made_from = ingredients(code_digest=code)
    draft = begin(store, made_from.key())
    (draft.images / "inventory.img").write_bytes(b"inventory")
    (draft.images / "pages-1.img").write_bytes(pages)
    (draft.images / "dump.log").write_text("log")
    draft.commit(manifest(made_from))

same = b"same" * (content.LARGE_BYTES // 4)
commit("kept", same)
setattr(place, name, counting)
commit("new", same)
commit("kept", same + b"more")
store.remove(ingredients(code_digest="new").key())
print(calls)
"""


def _run(root: Path, module: str, name: str, at: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(root), module, name, str(at)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("seal", "rewrite"),
        ("files", "hash_file"),
        ("files", "write_durably"),
        ("files", "sync_directory"),
        ("content", "_link"),
        ("os", "link"),
        ("os", "rename"),
        ("os", "replace"),
        ("files", "remove_tree"),
        ("use", "begin"),
    ],
)
def test_whenever_it_is_killed_the_store_is_whole(tmp_path: Path, module: str, name: str) -> None:
    done = _run(tmp_path / "whole", module, name, 0)
    assert done.returncode == 0, done.stderr
    count = int(done.stdout)
    assert count > 0
    for at in {1, (count + 1) // 2, count}:
        root = tmp_path / f"killed-{at}"
        assert _run(root, module, name, at).returncode == -signal.SIGKILL
        _check(root)


def _check(root: Path) -> None:
    store = SnapshotStore(root)
    kept, new = (ingredients(code_digest=name).key() for name in ("kept", "new"))
    begin(store, kept).discard()  # whoever comes next cleans up
    left = {path.name for path in root.iterdir()}
    assert left <= {".lock", content.DIRECTORY, kept, new}, left
    entries = store.list()
    assert {entry.key for entry in entries} == left & {kept, new}
    for entry in entries:
        assert entry.snapshot, entry.problem
        validate.validate_images(entry.snapshot)
        validate.read_all(entry.snapshot)
    for entry in entries:
        store.remove(entry.key)
    assert os.listdir(root) == [".lock"]
