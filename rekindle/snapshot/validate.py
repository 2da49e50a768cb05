"""Whether a snapshot may be restored here: does it fit, is it whole, is what it loaded unchanged?

Raises SnapshotInvalidError with the first reason, in words, and SnapshotError where files cannot be
read for a reason that may pass, which says nothing against it. Never changes the snapshot, save for
the stamp of a full verification.
"""

from __future__ import annotations

import dataclasses
import logging
import operator
import os
from collections.abc import Mapping, Sequence

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot import files, key, stamp
from rekindle.snapshot.entry import Snapshot
from rekindle.snapshot.files import locked
from rekindle.snapshot.key import Ingredients
from rekindle.snapshot.machine import Machine
from rekindle.snapshot.manifest import IMAGES, MAPPED, ImageFile
from rekindle.snapshot.unreadable import passes, unreadable
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_KIND = {IMAGES: "image file", MAPPED: "mapped image file"}


def validate(snapshot: Snapshot, ingredients: Ingredients) -> None:
    """Raise SnapshotInvalidError unless ``snapshot`` is what these ingredients make.

    All files are read and hashed, unless the stamp of an earlier full verification still holds.
    """
    made_from = snapshot.manifest.ingredients
    # A processor that can do more than the snapshot asks for is no reason.
    adapted = dataclasses.replace(made_from, cpu_features=ingredients.cpu_features)
    _refuse(snapshot, key.machine_differences(made_from, ingredients))
    _refuse(snapshot, key.differences(adapted, ingredients))
    _check_files(snapshot, full=True)


def validate_here(snapshot: Snapshot, machine: Machine, *, full: bool = False) -> None:
    """The same where the machine alone is known, not the function's present code.

    Without ``full`` the content of files is not read, just their presence and size.
    """
    _refuse(snapshot, key.machine_differences(snapshot.manifest.ingredients, machine))
    _check_files(snapshot, full=full)


def validate_images(snapshot: Snapshot) -> None:
    """Raise SnapshotInvalidError unless the images are whole, as at the last full verification.

    Quick while nothing has touched the files; otherwise all of them are read.
    """
    _check_presence(snapshot)
    _check_content(snapshot)


@dataclasses.dataclass(frozen=True)
class Seen:
    """Files of a snapshot as they were before it was found whole, the stamp among them.

    As long as they are the same, the snapshot is: nothing of it has to be read to know that.
    """

    paths: tuple[str, ...]
    states: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Seen:
        """As they are now. Raises OSError."""
        manifest = snapshot.manifest
        names = [stamp.NAME, *manifest.content]
        names += [f"{MAPPED}/{name}" for name in manifest.mapped_links]
        paths = [os.path.join(snapshot.path, name) for name in names]
        if snapshot.is_mapped:
            paths.append(manifest.mapping["page_files_at"])
        return cls(tuple(paths), tuple(map(_state, paths)))

    def holds(self) -> bool:
        """Whether all are as they were."""
        try:
            return all(map(operator.eq, map(_state, self.paths), self.states))
        except OSError:
            return False


def _state(path: str) -> tuple[int, ...]:
    info = os.stat(path)
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _invalid(snapshot: Snapshot, reason: str) -> SnapshotInvalidError:
    return SnapshotInvalidError(f"snapshot {snapshot.key}: {reason}")


def _refuse(snapshot: Snapshot, reasons: list[str]) -> None:
    if reasons:
        raise _invalid(snapshot, reasons[0])


def _check_files(snapshot: Snapshot, *, full: bool) -> None:
    _check_presence(snapshot)
    try:
        reason = changed_file(snapshot.manifest.loaded_files)
    except OSError as error:
        what = f"loaded file {error.filename} cannot be looked at"
        raise unreadable(snapshot.key, what, error) from error
    if reason:
        raise _invalid(snapshot, reason)
    if full:
        _check_content(snapshot)


def _check_presence(snapshot: Snapshot) -> None:
    manifest = snapshot.manifest
    if "inventory.img" not in manifest.files:
        raise _invalid(snapshot, "its manifest names no inventory.img")
    for name, wanted in manifest.files.items():
        _check_size(snapshot, IMAGES, name, wanted)
    if snapshot.is_mapped:
        _check_mapped(snapshot)


def _check_size(snapshot: Snapshot, part: str, name: str, wanted: ImageFile) -> None:
    size = _look(snapshot, part, name).st_size
    if size != wanted.size:
        word = "truncated" if size < wanted.size else "grown"
        raise _invalid(
            snapshot,
            f"{_KIND[part]} {name} is {word}: {size} bytes instead of {wanted.size}",
        )


def _check_mapped(snapshot: Snapshot) -> None:
    manifest = snapshot.manifest
    for name, wanted in manifest.mapped_files.items():
        _check_size(snapshot, MAPPED, name, wanted)
    for name in manifest.mapped_links:
        # What is one file needs to be checked once.
        if not os.path.samestat(_look(snapshot, IMAGES, name), _look(snapshot, MAPPED, name)):
            raise _invalid(snapshot, f"{_KIND[MAPPED]} {name} is not the image file of that name")
    if not os.path.isdir(manifest.mapping["page_files_at"]):
        raise _invalid(snapshot, "its page files are not where its mapped images name them")


def _look(snapshot: Snapshot, part: str, name: str) -> os.stat_result:
    try:
        # A page file may be a link to where it can be read before it has arrived.
        return os.stat(snapshot.path / part / name)
    except FileNotFoundError:
        raise _invalid(snapshot, f"{_KIND[part]} {name} is missing") from None
    except OSError as error:
        raise unreadable(snapshot.key, f"{_KIND[part]} {name}", error) from error


def changed_file(loaded: Mapping[str, Sequence[int]]) -> str:
    """The first loaded file that is not what it was, and how; "" when all are unchanged.

    ``loaded``: path -> size in bytes and modification time in ns. Raises OSError where that cannot
    be told just now.
    """
    for path, wanted in loaded.items():
        try:
            info = os.stat(path)
        except OSError as error:
            if passes(error):
                raise
            return f"loaded file {path} is gone: {error.strerror}"
        if (info.st_size, info.st_mtime_ns) != tuple(wanted):
            return f"loaded file {path} changed"
    return ""


def _check_content(snapshot: Snapshot) -> None:
    if _is_stamped(snapshot):
        return
    try:
        with locked(snapshot.path.parent):  # not while the store gives a file another name
            if _is_stamped(snapshot):
                return
    except OSError as error:
        log.warning("store cannot be locked", extra=kv(path=snapshot.path.parent, reason=error))
    read_all(snapshot)


def _is_stamped(snapshot: Snapshot) -> bool:
    stamped = stamp.read(snapshot.path)
    if stamped.bad:
        raise _invalid(snapshot, stamped.bad)
    try:
        return stamped.covers(stamp.look(snapshot.path, snapshot.manifest.content))
    except OSError as error:
        raise unreadable(snapshot.key, "image file cannot be read", error) from error


def read_all(snapshot: Snapshot, *, direct: bool = False) -> int:
    """Read and hash every file, whatever its stamp says, and stamp it again; bytes read.

    ``direct`` reads what is on the disk, past the page cache, where the file system can. Raises
    SnapshotInvalidError; wrong content is remembered, and the snapshot not restored again.
    """
    _check_presence(snapshot)
    content = snapshot.manifest.content
    bad = ""
    try:
        looked = stamp.look(snapshot.path, content)
        for path, wanted in content.items():
            if files.hash_file(snapshot.path / path, direct=direct) != wanted.xxh3:
                part, _, name = path.partition("/")
                bad = f"{_KIND[part]} {name} is corrupt: its content changed"
                break
    except OSError as error:
        raise unreadable(snapshot.key, "image file cannot be read", error) from error
    try:
        stamp.write(snapshot.path, looked, bad=bad)
    except OSError as error:  # a full disk: the next restore verifies again
        log.warning("verification not remembered snapshot=%s: %s", snapshot.key, error)
    if bad:
        raise _invalid(snapshot, bad)
    return sum(item.size for item in content.values())
