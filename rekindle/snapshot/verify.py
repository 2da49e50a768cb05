"""Full verification: read every byte of a snapshot, on demand or one at a time in the background.

Run as a module, it verifies the snapshot whose turn it is and prints the finding as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from rekindle.exception import SnapshotError, SnapshotInvalidError
from rekindle.linux import programs
from rekindle.snapshot import stamp, validate
from rekindle.snapshot.store import SnapshotStore

log = logging.getLogger(__name__)

#: 100 GiB at 50 MB/s take some 35 minutes.
BACKGROUND_TIMEOUT_S = 3600.0
_NICENESS = 19


@dataclass(frozen=True)
class Finding:
    """What a verification found."""

    key: str
    app: str
    function: str
    problem: str  # "" when every file is as it was written
    read_bytes: int
    elapsed_ms: float


def verify(store: SnapshotStore, key: str) -> Finding | None:
    """Read a snapshot as a whole, past the page cache where that can be; None when it is gone.

    One with wrong content is not restored any more. It is pinned meanwhile.
    """
    started = time.monotonic()
    pin = store.pin(key)
    app = function = problem = ""
    read_bytes = 0
    try:
        snapshot = store.get(key)
        if snapshot is None:
            return None
        app, function = snapshot.manifest.app, snapshot.manifest.function
        read_bytes = validate.read_all(snapshot, direct=True)
    except SnapshotInvalidError as error:
        if not (store.root / key).is_dir():
            return None  # it was removed while it was read
        problem = str(error).removeprefix(f"snapshot {key}: ")
    finally:
        if pin is not None:
            pin.release()
    elapsed_ms = (time.monotonic() - started) * 1e3
    return Finding(key, app, function, problem, read_bytes, elapsed_ms)


def due(store: SnapshotStore) -> Iterator[str]:
    """Keys of the snapshots that can be read, the one verified longest ago first."""
    stamps = [(stamp.read(entry.path), entry.key) for entry in store.list() if entry.snapshot]
    # One that is known to be bad is no news.
    for _stamp, key in sorted((s.verified, key) for s, key in stamps if not s.bad):
        yield key


def verify_one(store: SnapshotStore) -> Finding | None:
    """Verify the snapshot that was verified longest ago; None when there is none."""
    for key in due(store):
        finding = verify(store, key)
        if finding is not None:
            return finding
    return None


def verify_one_in_background(
    store: SnapshotStore, timeout_s: float = BACKGROUND_TIMEOUT_S
) -> Finding | None:
    """The same in a process of its own, which gets disk and processor that no other wants.

    Blocks: call it in a thread. The process ends with this one. Raises SnapshotError when it fails
    or takes longer than ``timeout_s``.
    """
    verifier = [sys.executable, "-P", "-m", "rekindle.snapshot.verify"]
    try:
        done = programs.run([*verifier, str(store.root), str(os.getpid())], timeout_s)
    except subprocess.TimeoutExpired:
        raise SnapshotError(f"verification took longer than {timeout_s:g} s") from None
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}"
        raise SnapshotError(f"verification failed: {reason}")
    raw = json.loads(done.stdout)
    return Finding(**raw) if raw else None


def main() -> None:
    """``python -m rekindle.snapshot.verify ROOT PARENT``."""
    from rekindle.linux import processes

    root, parent = Path(sys.argv[1]), int(sys.argv[2])
    processes.die_with_parent(parent)
    os.nice(_NICENESS)
    psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    finding = verify_one(SnapshotStore(root))
    sys.stdout.write(json.dumps(dataclasses.asdict(finding) if finding else None))


if __name__ == "__main__":
    main()
