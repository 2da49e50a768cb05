"""The layers of this machine: a folder each, published by one rename, removed by another.

    layers/NAME/      root (its files) and layer.json; stored.json, where it is in a store of blobs,
                      too; layer.erofs, where that came from there: it is mounted at root
    drafts/NAME-X/    what is being built; its builder holds a lock on it
    logs/NAME         what the last build of a layer printed, also of one that failed
    locks/NAME        held by who builds that layer
    files/DIGEST/     local files that clients added
    damaged/NAME      the blob that a store has in place of that layer, and that is of no use

A layer is there when its record is: who builds is killed at any moment and leaves a draft at most.
Knows nothing of how layers are built.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rekindle import paths
from rekindle.exception import ImageError, NotFoundError
from rekindle.linux import files
from rekindle.linux.libc import check, libc
from rekindle.linux.passing import is_passing
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.stored import StoredLayer

_LAYERS, _DRAFTS, LOGS, LOCKS, FILES = "layers", "drafts", "logs", "locks", "files"
_DAMAGED = "damaged"
_RECORD, ROOT = "layer.json", "root"
_STORED, PACKED = "stored.json", "layer.erofs"
_GONE = ".gone-"
_WAIT_S = 0.05


@dataclass(frozen=True)
class Draft:
    """A layer that is being built."""

    place: Path
    #: Keeps others from removing it, for as long as it is open.
    lock: int

    @property
    def root(self) -> Path:
        """The files of the layer."""
        return self.place / ROOT

    @property
    def work(self) -> Path:
        """What overlayfs needs beside them."""
        return self.place / "work"

    @property
    def scratch(self) -> Path:
        """For what is in no layer."""
        return self.place / "scratch"


class LayerStore:
    """Layers below one directory, of one file system."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else paths.images_dir()

    def place(self, name: str) -> Path:
        """Where a layer's files are, or would be."""
        return self.root / _LAYERS / name / ROOT

    def log(self, name: str) -> Path:
        """What the last build of a layer printed."""
        return self.root / LOGS / name

    def get(self, name: str) -> Layer | None:
        """A layer that is there; None otherwise. A record that cannot be read is none.

        Raises ImageError where it cannot be read just now: it is not to be built again for that.
        """
        try:
            text = _noted(name, self.root / _LAYERS / name / _RECORD)
            return Layer.from_json(text) if text is not None else None
        except ValueError:
            return None

    def packed(self, name: str) -> Path:
        """Where a layer that came from a store is as one file, or will be."""
        return self.root / _LAYERS / name / PACKED

    def stored(self, name: str) -> StoredLayer | None:
        """Where else a layer is, as far as this machine knows. Raises ImageError where that cannot
        be told just now."""
        try:
            text = _noted(name, self.root / _LAYERS / name / _STORED)
            return StoredLayer.from_json(text) if text is not None else None
        except (ValueError, KeyError, TypeError):
            return None

    def note_stored(self, name: str, stored: StoredLayer) -> None:
        """Keep where else a layer is. Raises OSError."""
        place = self.root / _LAYERS / name / _STORED
        draft = place.with_name(f".{_STORED}-{secrets.token_hex(4)}")
        draft.write_text(stored.to_json())
        os.replace(draft, place)

    def note_damaged(self, name: str, blob: str) -> None:
        """Have a layer be none any more of which a store has lost or damaged a part, and keep that
        in mind for all processes: it does not come from that blob again. Raises OSError."""
        place = self.root / _DAMAGED / name
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{name}-{secrets.token_hex(4)}")
        draft.write_text(blob)
        os.replace(draft, place)
        layer, stored = self.get(name), self.stored(name)
        # What was built here meanwhile is whole.
        if layer is not None and layer.packing and stored is not None and stored.blob == blob:
            self.forget(name)

    def is_damaged(self, name: str, blob: str) -> bool:
        """Whether that blob is known to be of no use as the layer. Raises ImageError where that
        cannot be told just now."""
        return _noted(name, self.root / _DAMAGED / name) == blob

    def knows_damage(self, name: str) -> bool:
        """Whether a store has lost or damaged a layer, and nothing else in its place yet."""
        return (self.root / _DAMAGED / name).exists()

    def is_mended(self, name: str) -> None:
        """What the store has of a layer was put there again."""
        (self.root / _DAMAGED / name).unlink(missing_ok=True)

    def local_bytes(self, layer: Layer) -> int:
        """What a layer takes of this machine's disk here; what is on its way is not among it."""
        if not layer.packing:
            return layer.size_bytes
        try:
            return self.packed(layer.name).stat().st_blocks * 512
        except OSError:
            return 0

    def touch(self, name: str) -> None:
        """Note that a layer was used just now."""
        with contextlib.suppress(OSError):
            os.utime(self.root / _LAYERS / name)

    def used_s(self, name: str) -> float:
        """When it was used last; 0 where it is not there."""
        try:
            return (self.root / _LAYERS / name).stat().st_mtime
        except OSError:
            return 0.0

    def all(self) -> list[Layer]:
        """All layers, the newest last. Raises ImageError where they cannot be looked at."""
        found = [self.get(name) for name in self._names(_LAYERS)]
        return sorted((one for one in found if one is not None), key=lambda one: one.created_s)

    def resolve(self, prefix: str) -> Layer:
        """The layer whose name begins so. Raises NotFoundError."""
        found = [one for one in self.all() if prefix and one.name.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(one.name[:12] for one in found[:4])
            raise NotFoundError(f"several layers begin with {prefix!r}: {names}; write more of it")
        raise NotFoundError(f"no layer {prefix!r} in {self.root}; `rekindle image list` shows them")

    def resolve_log(self, prefix: str) -> Path:
        """The log of a layer, which need not be there, by how its name begins.

        Raises NotFoundError, and ImageError where logs cannot be looked at.
        """
        logs = self.root / LOGS
        found = [name for name in self._names(LOGS) if prefix and name.startswith(prefix)]
        if len(found) != 1:
            what = "several logs begin with" if found else "no build has printed anything for"
            raise NotFoundError(f"{what} {prefix!r} in {logs}; `rekindle image list` shows layers")
        return logs / found[0]

    def _names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self.root / folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ImageError(
                f"{self.root}, where layers are kept, cannot be read ({error.strerror}); set "
                f"REKINDLE_IMAGES to another directory"
            ) from error

    # ---- building ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def building(self, name: str, waits: Callable[[], None]) -> Iterator[None]:
        """Be the one who builds a layer, among all processes; ``waits`` is called now and then
        while another one is. Raises ImageError where the store cannot be written."""
        fd = self._locked(name, waits)
        try:
            yield
        finally:
            os.close(fd)

    def _locked(self, name: str, waits: Callable[[], None]) -> int:
        place = self.root / LOCKS / name
        while True:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise ImageError(
                    f"{self.root}, where layers are kept, cannot be written ({error.strerror}); "
                    f"set REKINDLE_IMAGES to another directory"
                ) from error
            if not files.try_lock(fd):
                os.close(fd)
                waits()
                time.sleep(_WAIT_S)
                continue
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), place.stat()):
                    return fd
            os.close(fd)  # it was removed while we waited

    def draft(self, name: str) -> Draft:
        """A place to build a layer in."""
        self.remove_leftovers(of=name)
        place = self.root / _DRAFTS / f"{name}-{secrets.token_hex(4)}"
        place.mkdir(parents=True, mode=0o755)
        lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        files.lock(lock)
        made = Draft(place, lock)
        for one in (made.root, made.work, made.scratch):
            one.mkdir(mode=0o755)
        (self.root / LOGS).mkdir(exist_ok=True)
        return made

    def publish(self, draft: Draft, layer: Layer, stored: StoredLayer | None = None) -> None:
        """Make a draft the layer, at once and for good; what was there before goes. ``stored``:
        where else it is.

        It is on the disk by then: a machine that loses its power has it whole, or has none.
        """
        for one in (draft.work, draft.scratch):
            shutil.rmtree(one, ignore_errors=True)
        (draft.place / _RECORD).write_text(layer.to_json())
        if stored is not None:
            (draft.place / _STORED).write_text(stored.to_json())
        check(libc.syncfs(ctypes.c_int(draft.lock)), "syncfs")
        target = self.root / _LAYERS / layer.name
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            self.set_aside(target)
        os.rename(draft.place, target)
        os.close(draft.lock)

    def give_up(self, draft: Draft) -> None:
        """Remove a draft."""
        shutil.rmtree(draft.place, ignore_errors=True)
        os.close(draft.lock)

    # ---- removing ------------------------------------------------------------------------------

    def remove(self, name: str) -> None:
        """Remove a layer, unless a runner's root has it (ImageError)."""
        if name in mounted([name]):
            raise ImageError(f"layer {name[:12]} is in use by a runner; end it first")
        with contextlib.suppress(FileNotFoundError):
            self.set_aside(self.root / _LAYERS / name)
        self.log(name).unlink(missing_ok=True)
        self.remove_leftovers()

    def forget(self, name: str) -> None:
        """Have a layer be none any more, also one that runners have: they keep its files."""
        with contextlib.suppress(FileNotFoundError):
            self.set_aside(self.root / _LAYERS / name)

    def set_aside(self, place: Path, name: str = "") -> None:
        """Have it be no layer any more, in one step. Runners that have it keep its files.

        The same of a folder that builds are shown, with a name of its own in lists of mounts.
        """
        drafts = self.root / _DRAFTS
        drafts.mkdir(exist_ok=True)
        os.rename(place, drafts / f"{_GONE}{name or place.name}-{secrets.token_hex(4)}")

    def remove_leftovers(self, of: str = "") -> None:
        """Remove what killed builders left, and layers that were set aside and are used no more;
        ``of``: of one layer."""
        try:
            found = [Path(one.path) for one in os.scandir(self.root / _DRAFTS)]
        except FileNotFoundError:
            return
        gone = [one for one in found if one.name.startswith(_GONE)]
        used = mounted([one.name.removeprefix(_GONE).split("-")[0] for one in gone])
        for place in found:
            name = place.name.removeprefix(_GONE).split("-")[0]
            if (of and name != of) or (place in gone and name in used):
                continue
            with contextlib.suppress(OSError):  # the next one finds it
                fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    if files.try_lock(fd):
                        shutil.rmtree(place, ignore_errors=True)
                finally:
                    os.close(fd)


def _noted(name: str, place: Path) -> str | None:
    """What is noted of a layer in a file, None where nothing is. Raises ImageError where that
    cannot be told just now: it is not to be taken for nothing."""
    try:
        return place.read_text()
    except OSError as error:
        if is_passing(error):
            raise ImageError(f"layer {name[:12]} cannot be looked at: {error}") from error
        return None


def mounted(names: list[str]) -> set[str]:
    """Those of the layers that are part of a mount, in any mount namespace of this machine.

    Raises ImageError where that cannot be known just now: what is in use must not be removed.
    """
    if not names:
        return set()
    seen: set[str] = set()
    found: set[str] = set()
    for process in os.scandir("/proc"):
        if not process.name.isdigit():
            continue
        try:
            namespace = os.readlink(f"{process.path}/ns/mnt")
            if namespace in seen:
                continue
            seen.add(namespace)
            text = Path(process.path, "mountinfo").read_text(errors="replace")
        except OSError as error:
            if is_passing(error):
                why = f"which layers are in use cannot be found out: {error}"
                raise ImageError(f"{why}; try again when there is room") from error
            continue  # it has ended, or is another user's, whose mounts are not of ours
        found.update(name for name in names if name in text)
    return found


def measure(root: Path) -> tuple[int, int]:
    """Bytes on the disk, and how many files, of a layer."""
    size = count = 0
    seen: set[int] = set()
    pending = [str(root)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                info = entry.stat(follow_symlinks=False)
                count += 1
                if info.st_ino not in seen:
                    seen.add(info.st_ino)
                    size += info.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return size, count
