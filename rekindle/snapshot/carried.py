"""A snapshot taken apart to be carried to another machine, and put together there.

Its page files travel by themselves, as they are large and may be read before they have arrived;
all else is one archive. Mapped images name the page files by path, so these are written again where
they are put together. Knows nothing of how and where anything is carried.
"""

from __future__ import annotations

import os
import re
import tarfile
from pathlib import Path

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot import files, renaming, stamp, use, workingset
from rekindle.snapshot.entry import Snapshot
from rekindle.snapshot.manifest import IMAGES, MAPPED, ImageFile, Manifest
from rekindle.snapshot.mapped import imagefile
from rekindle.snapshot.renaming import FILES_IMAGE
from rekindle.snapshot.seal import MADE

#: Smaller files travel in the archive.
_LARGE_BYTES = 1 << 20
_MANIFEST = "manifest.json"
_NAME = re.compile(rf"({IMAGES}|{MAPPED})/[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def large_files(snapshot: Snapshot) -> dict[str, Path]:
    """What travels by itself, by its path in the snapshot: files of pages."""
    return {
        name: snapshot.path / name
        for name, item in snapshot.manifest.content.items()
        if "pages-" in name and item.size >= _LARGE_BYTES
    }


def bundle(snapshot: Snapshot, target: Path) -> None:
    """Write all else to an archive. Raises OSError."""
    large = large_files(snapshot)
    names = [_MANIFEST, *(name for name in snapshot.manifest.content if name not in large)]
    if (snapshot.path / workingset.NAME).exists():
        names.append(workingset.NAME)
    with tarfile.open(target, "x") as archive:
        for name in names:
            archive.add(snapshot.path / name, name, recursive=False, filter=_plain)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what is this machine's: the same files are the same archive."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    return info


def unbundle(archive: Path, directory: Path) -> Manifest:
    """Unpack an archive into a directory; what is to come there is in ``missing``.

    Raises SnapshotInvalidError for what is no such archive, OSError.
    """
    (directory / IMAGES).mkdir(mode=0o700, exist_ok=True)
    (directory / MAPPED).mkdir(mode=0o700, exist_ok=True)
    try:
        with tarfile.open(archive, "r:") as opened:
            for info in opened:
                if not info.isreg() or not (
                    info.name in (_MANIFEST, workingset.NAME) or _NAME.match(info.name)
                ):
                    raise SnapshotInvalidError(f"the archive holds {info.name!r}")
                source = opened.extractfile(info)
                assert source is not None
                _write(directory / info.name, source.read())
        text = (directory / _MANIFEST).read_text(encoding="utf-8")
    except (tarfile.TarError, UnicodeDecodeError, FileNotFoundError) as error:
        raise SnapshotInvalidError(f"the archive of a snapshot is damaged: {error}") from error
    return Manifest.from_json(text)


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as target:
        target.write(data)
    # As seal.py has them: CRIU refuses images of another mode than they name.
    path.chmod(0o600 if path.parent.name not in (IMAGES, MAPPED) else 0o400)


def missing(directory: Path, manifest: Manifest) -> list[str]:
    """The files, by their path in the snapshot, that are not there yet."""
    return [name for name in manifest.content if not os.path.lexists(directory / name)]


def put_together(directory: Path, final: Path, manifest: Manifest) -> None:
    """Make what was carried a snapshot that is to lie at ``final``.

    All files are there; a page file may be a symbolic link to where its bytes can be read. Fills in
    the manifest, and writes it. Raises SnapshotInvalidError, CriuNotFoundError, OSError.
    """
    if still := missing(directory, manifest):
        raise SnapshotInvalidError(f"{still[0]} of the snapshot did not come along")
    if manifest.mapping:
        name_page_files(directory, final, manifest)
        for name in manifest.mapped_links:
            if not os.path.lexists(directory / MAPPED / name):
                os.link(directory / IMAGES / name, directory / MAPPED / name, follow_symlinks=False)
    use.begin(directory)
    write_manifest(directory, manifest)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """What the manifest says is so from now on, names of page files included. Raises OSError."""
    files.write_durably(directory / _MANIFEST, manifest.to_json())
    renaming.complete(directory, manifest)
    if manifest.mapping:
        _drop_links(directory, but=Path(manifest.mapping["page_files_at"]).parent.name)


def name_page_files(directory: Path, final: Path, manifest: Manifest) -> None:
    """Have the mapped images name the page files by where they will lie: by ``write_manifest``."""
    made = f"{MADE}{os.urandom(6).hex()}"
    # Of a process in an image: where its root shows the snapshot, which stays.
    seen_at = manifest.mapping.get("seen_at")
    old = Path(seen_at) if seen_at else Path(manifest.mapping["page_files_at"]).parent
    new = old.parent / made if seen_at else final / made
    os.symlink(".", directory / made)
    path = directory / MAPPED / FILES_IMAGE
    opened = imagefile.read(path, imagefile.messages("fdinfo_pb2").file_entry)
    for entry in opened.entries:
        if entry.HasField("reg") and Path(entry.reg.name).is_relative_to(old):
            entry.reg.name = str(new / Path(entry.reg.name).relative_to(old))
    draft = renaming.waiting(directory)
    draft.unlink(missing_ok=True)  # of who was killed here
    opened.write(draft)
    draft.chmod(0o400)
    manifest.mapping = {**manifest.mapping, "page_files_at": str(final / made / IMAGES)}
    if seen_at:
        manifest.mapping["seen_at"] = str(new)
    described = ImageFile(draft.stat().st_size, files.hash_file(draft, sync=True))
    manifest.mapped_files = {**manifest.mapped_files, FILES_IMAGE: described}
    files.sync_directory(directory / MAPPED)


def _drop_links(directory: Path, *, but: str) -> None:
    """Remove the links by which page files were named before."""
    for name in os.listdir(directory):
        if name.startswith(MADE) and name != but:
            (directory / name).unlink()


def trust(directory: Path, manifest: Manifest) -> None:
    """Stamp the files as whole: whoever carried them has verified, or verifies, each part of them.

    Raises OSError.
    """
    stamp.write(directory, stamp.look(directory, manifest.content))
