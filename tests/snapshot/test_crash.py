"""A process that is killed while it commits leaves a store that can be used as it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.snapshot import content, validate
from rekindle.snapshot.draft import begin
from rekindle.snapshot.store import SnapshotStore
from tests.snapshot.conftest import ingredients

#: Commits two snapshots with one page file in common, the first one anew, and removes one. In
#: children, each with a store of its own: one counts the calls of a function, the others die by
#: SIGKILL just before the first, the middle and the last of them. Reads lines of a directory, a
#: module and a function; prints how the children ended.
_PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from rekindle.snapshot import content, files, seal, stamp, store as store_room, use
from rekindle.snapshot.draft import begin
from tests.snapshot.conftest import ingredients, manifest

places = {"os": os, "files": files, "seal": seal, "stamp": stamp, "content": content, "use": use}
same = b"same" * (content.LARGE_BYTES // 4)

def commit(store, code, pages):
    made_from = ingredients(code_digest=code)
    draft = begin(store, made_from.key())
    (draft.images / "inventory.img").write_bytes(b"inventory")
    (draft.images / "pages-1.img").write_bytes(pages)
    (draft.images / "dump.log").write_text("log")
    draft.commit(manifest(made_from))

def work(root, place, name, at):
    real, calls = getattr(place, name), 0

    def counting(*args, **kwargs):
        nonlocal calls
        if str(root) in str(args) or name == "rewrite":
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    store = store_room.SnapshotStore(root)
    commit(store, "kept", same)
    setattr(place, name, counting)
    commit(store, "new", same)
    commit(store, "kept", same + b"more")
    store.remove(ingredients(code_digest="new").key())
    return calls

def child(*given):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, str(work(*given)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as counted:
        said = counted.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said

for line in sys.stdin:
    base, module, name = json.loads(line)
    of = (places[module], name)
    status, count = child(Path(base, "whole"), *of, 0)
    count = int(count or 0)
    moments = {1, (count + 1) // 2, count}
    ended = {at: child(Path(base, f"killed-{at}"), *of, at)[0] for at in moments}
    print(json.dumps([status, count, ended]), flush=True)
"""


@pytest.fixture(scope="module")
def killing() -> Iterator[subprocess.Popen[str]]:
    """The program, waiting for lines."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as program:
        yield program
        assert program.stdin
        program.stdin.close()


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
def test_whenever_it_is_killed_the_store_is_whole(
    killing: subprocess.Popen[str], tmp_path: Path, module: str, name: str
) -> None:
    assert killing.stdin and killing.stdout
    killing.stdin.write(json.dumps([str(tmp_path), module, name]) + "\n")
    killing.stdin.flush()
    status, count, ended = json.loads(killing.stdout.readline())
    assert status == 0
    assert count > 0
    assert set(ended.values()) == {-signal.SIGKILL}
    for at in ended:
        _check(tmp_path / f"killed-{at}")


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
