"""A copy of what an instance cannot make again, also while it runs: its queue, its blobs, its name.

The append-only file is several files, named by a manifest, which the server replaces when it writes
them anew: what opens all that one manifest names has a state that was. While blobs are copied, none
is removed, as the queue that was copied before may name it. Knows nothing of what is stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rekindle import copied_back, paths
from rekindle.controller.storage import elsewhere
from rekindle.exception import SetupError
from rekindle.linux import files
from rekindle.linux.whole_directory import whole_directory

_QUEUE = Path("redis") / "appendonlydir"
_MANIFEST = "appendonly.aof.manifest"
#: Of files that the server is just removing.
_HISTORY = "h"
_CHUNK_BYTES = 1 << 20
#: Who removes blobs has the lock for a moment only.
_A_MOMENT_S, _LOOK_S = 1.0, 0.02


@dataclass(frozen=True)
class Copied:
    """How much was copied; ``missing``: where blobs are that were not, if there are any."""

    blobs: int
    bytes: int
    missing: str


def copy(directory: Path, target: Path, say: Callable[[str], None] = lambda _: None) -> Copied:
    """Copy an instance to ``target``, which must not be there; it is there whole or not at all.

    Everything that was acknowledged before is in it. What a copy of it that was killed has left
    beside ``target`` is removed. ``say`` is told what is waited for. Raises SetupError and
    InvalidError for a place that is none, and OSError.
    """
    places = elsewhere.read(directory)
    if places.redis:
        raise SetupError(
            f"the queue of {directory} is in the Redis at {places.redis} (REKINDLE_REDIS_URL), "
            f"which is to be backed up itself, and with it {directory / 'instance'}: the name by "
            f"which all is found there"
        )
    if not (directory / _QUEUE / _MANIFEST).exists():
        raise SetupError(
            f"there is no queue in {directory}: no instance was up there. It is one of `rekindle "
            "up` that is kept; what `rekindle run` brings up by itself goes with its programs"
        )
    if target.is_relative_to(directory):
        raise SetupError(f"{target} is in what is to be copied: name a folder elsewhere")
    paths.refuse_in_file(target, "")
    _refuse_what_is_there(target)
    drafts = _drafts_of(directory)
    with nothing_removed(directory, say):
        _refuse_what_is_there(target)  # the copy that was waited for may have made it
        for left in target.parent.glob(f"{drafts}*"):  # no other copies it just now
            shutil.rmtree(left, ignore_errors=True)
        with whole_directory(target, named_by_content=False, prefix=drafts) as draft:
            copied = _copy(directory, draft, places)
        files.sync(target.parent)
    return copied


def _refuse_what_is_there(target: Path) -> None:
    if os.path.lexists(target):
        raise SetupError(f"{target} is there already: name a folder that is not")


def _copy(directory: Path, draft: Path, places: elsewhere.Elsewhere) -> Copied:
    size = _copy_queue(directory / _QUEUE, draft / _QUEUE)
    blobs = _copy_blobs(directory / "blobs", draft / "blobs")
    shutil.copy(directory / "instance", draft / "instance")
    elsewhere.note(draft, places)  # who starts the copy is told of what is not in it
    copied_back.note(draft)
    return Copied(len(blobs), size + sum(blobs), places.blobs)


def _drafts_of(directory: Path) -> str:
    """How the names of drafts begin that are of this instance, and of no other that is copied to
    the same folder, from another machine, say."""
    name = (directory / "instance").read_text()
    whose = f"{name} {socket.gethostname()} {directory.resolve()}"
    return f".draft-backup-{hashlib.sha256(os.fsencode(whose)).hexdigest()[:12]}-"


# ---- the queue -----------------------------------------------------------------------------------


def _copy_queue(source: Path, target: Path) -> int:
    target.mkdir(parents=True, mode=0o700)
    with contextlib.ExitStack() as opened:
        manifest, named = _open_queue(source, opened)
        for name, fd in named.items():
            _copy_file(fd, target / name)
    (target / _MANIFEST).write_bytes(manifest)
    return sum(file.stat().st_size for file in target.iterdir())


def _open_queue(source: Path, opened: contextlib.ExitStack) -> tuple[bytes, dict[str, int]]:
    """A manifest, and descriptors of what it names."""
    before = b""
    while True:
        manifest = (source / _MANIFEST).read_bytes()
        named: dict[str, int] = {}
        try:
            for name in _named_in(manifest):
                named[name] = os.open(source / name, os.O_RDONLY)
                opened.callback(os.close, named[name])
        except FileNotFoundError:
            if manifest == before:  # nobody replaced it: it is missing
                raise
            before = manifest
            continue
        return manifest, named


def _named_in(manifest: bytes) -> Iterator[str]:
    for line in manifest.decode().splitlines():
        words = shlex.split(line, comments=True)
        about = dict(zip(words[::2], words[1::2], strict=False))
        if about and about.get("type") != _HISTORY:
            yield about["file"]


def _copy_file(fd: int, target: Path) -> None:
    """As much as is there now: it may be written to."""
    left = os.fstat(fd).st_size
    with target.open("xb") as file:
        while left and (data := os.pread(fd, min(left, _CHUNK_BYTES), file.tell())):
            file.write(data)
            left -= len(data)


# ---- blobs ---------------------------------------------------------------------------------------


def _copy_blobs(source: Path, target: Path) -> list[int]:
    """The sizes of what was copied."""
    copied = []
    # Of calls that end meanwhile nothing is needed; Path.glob would pass over others, too.
    walk = os.walk(source, onerror=files.not_listed_unless_gone)
    found = [Path(folder, name) for folder, _, names in walk for name in names]
    for path in sorted(one for one in found if one.relative_to(source).match("fc-*/*")):
        to = target / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copy(path, to)
        copied.append(to.stat().st_size)
    return copied


@contextlib.contextmanager
def nothing_removed(directory: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Within, the controller removes no blobs, and nobody else is within.

    ``say`` is told that somebody is, who is waited for. Raises OSError.
    """
    with files.opened_directory(directory) as fd:
        until = time.monotonic() + _A_MOMENT_S
        while not files.try_lock(fd):
            if time.monotonic() >= until:
                say(f"Waiting for another backup of {directory}.")
                files.lock(fd)
                break
            time.sleep(_LOOK_S)
        yield


@contextlib.contextmanager
def removing(directory: Path) -> Iterator[bool]:
    """Whether blobs may be removed within: not while they are copied. Raises OSError."""
    with files.opened_directory(directory) as fd:
        yield files.try_lock(fd, shared=True)
