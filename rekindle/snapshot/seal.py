"""Make a finished dump into what is kept: map it, make it immutable and durable, describe it.

Works on the files of one draft. Knows nothing of the store around it, and nothing of processes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rekindle.exception import CriuNotFoundError, SnapshotCreateError, SnapshotInvalidError
from rekindle.linux.files import named
from rekindle.snapshot import files
from rekindle.snapshot.manifest import IMAGES, MAPPED, ImageFile, Manifest
from rekindle.snapshot.mapped import imagefile
from rekindle.snapshot.mapped.areas import NotMappableError
from rekindle.snapshot.mapped.rewrite import rewrite
from rekindle.wire import switches
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

DUMP_LOG = "dump.log"
#: The name, with random digits, of a symbolic link to the directory that it lies in. The images
#: name the page files by way of it: if a snapshot is made again while the earlier one is being
#: restored, that restore fails for a missing file instead of mapping another process's memory.
MADE = "made-"


@dataclass(frozen=True)
class InRoot:
    """A process that had another root than the machine's."""

    #: Where a restored one will see its snapshot.
    snapshot_at: Path
    #: Where its root is seen now.
    root: Path


def seal(
    directory: Path,
    final: Path,
    manifest: Manifest,
    *,
    libraries: Path,
    in_root: InRoot | None = None,
) -> None:
    """Complete the draft in ``directory``, to be moved to ``final``, and fill in ``manifest``.

    All files are synced and have their right mode afterwards; directories are not synced yet.
    ``libraries`` is a file that remembers what shared libraries carry. Raises SnapshotCreateError
    for an incomplete dump, OSError for a disk that does not take it.
    """
    images, mapped = directory / IMAGES, directory / MAPPED
    for name in {DUMP_LOG, *(path.name for path in named(images, "*.log"))}:
        if (images / name).exists():
            os.replace(images / name, directory / name)
    inventory = images / "inventory.img"
    if not inventory.exists() or not inventory.stat().st_size:
        raise SnapshotCreateError("the dump left no inventory.img: it did not finish")
    _forget_sizes_of_written(images)
    # Before the mapping: CRIU refuses a page file whose mode is not the one in the images.
    _make_read_only(images)
    _map(directory, final, manifest, libraries, in_root)
    manifest.files = _describe(images)
    if not manifest.pages_bytes:
        manifest.pages_bytes = sum(
            item.size for name, item in manifest.files.items() if name.startswith("pages-")
        )
    if manifest.mapping:
        _make_read_only(mapped)
        manifest.mapped_links = sorted(
            path.name
            for path in mapped.iterdir()
            if (images / path.name).exists() and path.samefile(images / path.name)
        )
        manifest.mapped_files = _describe(mapped, but=manifest.mapped_links)


def _map(
    directory: Path, final: Path, manifest: Manifest, libraries: Path, in_root: InRoot | None
) -> None:
    """Write the mapped images, or note why there are none: a snapshot is good without, too."""
    manifest.mapping, manifest.not_mapped = {}, ""
    images, mapped = directory / IMAGES, directory / MAPPED
    shutil.rmtree(mapped, ignore_errors=True)
    made = f"{MADE}{os.urandom(6).hex()}"
    page_files_at = final / made / IMAGES
    seen_at = (final if in_root is None else in_root.snapshot_at) / made
    try:
        os.symlink(".", directory / made)
        done = rewrite(
            images,
            mapped,
            seen_at / IMAGES,
            target_at=seen_at / MAPPED,
            libraries_at=Path("/") if in_root is None else in_root.root,
            memory=libraries,
            map_huge_pages=map_huge_pages(),
        )
        if done.areas:
            what = dataclasses.asdict(done) | {"page_files_at": str(page_files_at)}
            if in_root is not None:
                what["seen_at"] = str(seen_at)
            manifest.mapping = json.loads(json.dumps(what))  # as it will be read again
        else:
            manifest.not_mapped = "no memory area in it is worth mapping"
    except (NotMappableError, SnapshotInvalidError, CriuNotFoundError) as error:
        manifest.not_mapped = str(error)
    except OSError as error:  # a full disk, say: the plain images may still fit
        where = f"{os.path.basename(os.fsdecode(error.filename))}: " if error.filename else ""
        manifest.not_mapped = f"{where}{error.strerror or error}"
    if not manifest.mapping:
        log.info("snapshot not mapped", extra=kv(key=manifest.key, reason=manifest.not_mapped))
        shutil.rmtree(mapped, ignore_errors=True)
        (directory / made).unlink(missing_ok=True)


def _make_read_only(directory: Path) -> None:
    for path in directory.iterdir():
        path.chmod(0o400)


def _describe(directory: Path, but: Collection[str] = ()) -> dict[str, ImageFile]:
    return {
        path.name: ImageFile(path.stat().st_size, files.hash_file(path, sync=True))
        for path in sorted(directory.iterdir())
        if path.name not in but
    }


def map_huge_pages() -> bool:
    """Whether areas whose owner asked for huge pages are mapped all the same (the default).

    NumPy asks for each array of 4 MiB and more, so weights would be copied at every start for a
    hint that few know they gave. ``REKINDLE_MAP_HUGE_PAGES=0`` follows it.

    Raises InvalidError for what is neither yes nor no.
    """
    return switches.is_on("REKINDLE_MAP_HUGE_PAGES", unset=True)


def _forget_sizes_of_written(images: Path) -> None:
    """Take the sizes of files that are open for writing out of the images. Raises OSError.

    CRIU refuses to restore when a file is not as long as it was, which is right for what is only
    read. What is open for writing grows by the work of the very runners that come from the snapshot
    (a log, a database), so the next restore would be refused.
    """
    path = images / "files.img"
    try:
        opened = imagefile.read(path, imagefile.messages("fdinfo_pb2").file_entry)
    except (CriuNotFoundError, SnapshotInvalidError) as error:
        log.info("sizes of written files stay in the images", extra=kv(reason=error))
        return
    changed = False
    for entry in opened.entries:
        if entry.HasField("reg") and entry.reg.flags & os.O_ACCMODE != os.O_RDONLY:
            changed |= entry.reg.HasField("size")
            entry.reg.ClearField("size")
    if changed:
        draft = path.with_suffix(".draft")
        opened.write(draft)
        os.replace(draft, path)
