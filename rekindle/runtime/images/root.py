"""A root made of an image's layers: a mount namespace that a process enters, held by a descriptor.

The layers with a directory on top for what is written, the file systems that programs expect, and
what is shown read-only or writable at places of its own. /proc is mounted by who enters, as it is
of a PID namespace. All of it goes with the namespace. Standard library only; runs in a process of
one thread that is alone with its mount namespace. Knows nothing of who asks.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rekindle.exception import LayerError
from rekindle.linux import device_files, mount_points, mounts, namespaces, overlay
from rekindle.runtime.images import shown_files
from rekindle.runtime.images.shown_files import ShownFiles
from rekindle.wire.images import OURS

#: The file system of the machine that names and addresses come from; runners share its network.
_NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts")
_HOME = "/root"
_DIRECTORIES = ("/proc", "/dev", "/sys", "/run", "/tmp", _HOME, OURS)
_OWN_MOUNTS = "/proc/self/ns/mnt"
_EVERYTHING = mounts.MS_BIND | mounts.MS_REC
_SHM_FLAGS = mounts.MS_NOSUID | mounts.MS_NODEV


@dataclass(frozen=True)
class Shown:
    """A file or directory of the machine, and where in the root it is seen."""

    source: str  # real path: no link in it
    target: str
    read_only: bool = True
    #: A local file or folder of the image's: laid over what is there (shown_files.py).
    laid: bool = False
    #: Of a volume, which may lie where nothing answers.
    may_hang: bool = False


@dataclass(frozen=True, kw_only=True)
class RootRequest:
    """What a root is made of."""

    lowers: tuple[str, ...]  # layers of the image, the topmost first
    packed: tuple[tuple[str, str], ...] = ()  # of those that are one file each: that, and its place
    written: tuple[str, ...] = ()  # above them: what was written to roots before this one
    #: A directory that does not exist yet, for what is written: made here, removed by who asks.
    place: str
    shown: tuple[Shown, ...] = ()
    directories: tuple[str, ...] = ()  # made where the image lacks them
    run_files: tuple[str, ...] = ()  # of the machine, copied into its /run where they are there

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> RootRequest:
        """The inverse."""
        shown = tuple(Shown(**one) for one in raw["shown"])
        return cls(
            lowers=tuple(raw["lowers"]),
            packed=tuple((file, place) for file, place in raw["packed"]),
            written=tuple(raw["written"]),
            place=raw["place"],
            shown=shown,
            directories=tuple(raw["directories"]),
            run_files=tuple(raw["run_files"]),
        )


def upper_of(place: str) -> str:
    """Where in the place of a root is what was written to it."""
    return f"{place}/upper"


@dataclass(frozen=True)
class _Mounted:
    """A layer that is one file. It goes along when the layer's directory is renamed, and another
    layer takes its place: so it is held by what is mounted, not by where."""

    file: str
    fd: int

    def is_at(self, place: str) -> bool:
        """Whether it is what is seen there."""
        return os.path.samestat(os.stat(place), os.fstat(self.fd))


@dataclass
class RootMaker:
    """Makes roots, one after the other."""

    #: A directory to mount at; seen by this process alone.
    scratch: str
    _own: int = -1
    _devices: str = ""
    _mounted: str = ""
    _in_user_namespace: bool = False
    #: Where a layer is mounted in this process's namespace -> what is mounted. One mount for all
    #: roots: so they share what of it is in memory.
    _packed: dict[str, _Mounted] = field(default_factory=dict)

    def make(self, request: RootRequest) -> int:
        """A descriptor of the root's mount namespace. Raises OSError, in words."""
        self.prepare(request)
        laid = self._shown_files(request)
        more = tuple(Shown(source, target, laid=True) for target, source in laid.shown.items())
        request = replace(
            request,
            shown=(*(one for one in request.shown if not one.laid), *more),
            directories=(*request.directories, *laid.directories),
        )
        upper, work = upper_of(request.place), f"{request.place}/work"
        os.makedirs(upper, mode=0o755)
        os.mkdir(work, mode=0o700)
        namespaces.unshare(namespaces.CLONE_NEWNS)
        try:
            try:
                overlay.mount_overlay(
                    *(self._layers(request, laid.links), upper, work, self._mounted),
                    # The names of layers are in the list of mounts: none goes that is there.
                    named_from=os.path.dirname(os.path.dirname(request.lowers[0])),
                    user_namespace=self._in_user_namespace,
                )
            except OSError as error:
                why = overlay.why_no_overlay(error, request.place)
                raise OSError(error.errno, f"the layers cannot be mounted: {why}") from error
            with contextlib.suppress(OSError):
                os.chmod(f"{work}/work", 0o700)  # so that its owner can remove it
            with mount_points.pivot(self._mounted):
                if self._in_user_namespace:
                    # The kernel lets such a user mount a /proc only where one is seen already.
                    mounts.mount("proc", "/proc", flags=_EVERYTHING)
                _furnish(request, self._devices, laid.links)
                return os.open(_OWN_MOUNTS.lstrip("/"), os.O_RDONLY | os.O_CLOEXEC)
        finally:
            namespaces.setns(self._own, namespaces.CLONE_NEWNS)

    def prepare(self, request: RootRequest) -> None:
        """What all roots share: to be had in a process before a copy of it makes one. Raises
        OSError."""
        self._prepare()
        for file, place in request.packed:
            self._mount_packed(file, place)

    def let_go(self, places: Sequence[str]) -> None:
        """Layers that are one file each need not be mounted any more; roots keep what they have.
        Raises OSError."""
        for place in places:
            if (known := self._packed.pop(place, None)) is not None:
                try:
                    mounts.unmount(f"/proc/self/fd/{known.fd}")
                finally:
                    os.close(known.fd)

    def _mount_packed(self, file: str, place: str) -> None:
        known = self._packed.get(place)
        if known is not None and known.file == file and known.is_at(place):
            return
        from rekindle.blobs import erofs  # most images need none of it

        self.let_go([place])
        try:
            erofs.mount(Path(file), Path(place))
        except LayerError as error:
            raise OSError(errno.EIO, str(error)) from error
        try:
            fd = os.open(place, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            mounts.unmount(place)  # nobody would know of it
            raise
        self._packed[place] = _Mounted(file, fd)

    def _prepare(self) -> None:
        if self._own >= 0:
            return
        # What is mounted here is seen in roots alone.
        namespaces.unshare(namespaces.CLONE_NEWNS)
        self._mounted, devices = f"{self.scratch}/root", f"{self.scratch}/dev"
        self._in_user_namespace = namespaces.in_user_namespace()
        os.makedirs(self._mounted, exist_ok=True)
        os.makedirs(devices, exist_ok=True)
        device_files.make_devices(devices, may_make=not self._in_user_namespace)
        self._devices = os.path.realpath(devices)
        if self._in_user_namespace and not os.path.isdir(home := f"{self.scratch}/home{_HOME}"):
            os.makedirs(home, mode=0o755)
            os.setxattr(home, overlay.OPAQUE_OF_A_USER, b"y")
        self._own = os.open(_OWN_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)

    def _shown_files(self, request: RootRequest) -> ShownFiles:
        files = [(one.source, one.target) for one in request.shown if one.laid]
        if not files:
            return ShownFiles()
        others = {one.target for one in request.shown if not one.laid}
        return shown_files.arrange(
            files, others | {*request.directories, *_NETWORK_FILES}, self._image(request)
        )

    def _layers(self, request: RootRequest, links: Mapping[str, str]) -> tuple[str, ...]:
        return (*request.written, *self._image(request), self._skeleton(request, links))

    def _image(self, request: RootRequest) -> tuple[str, ...]:
        if not self._in_user_namespace:
            return request.lowers
        # Root's home is this user's there: no directory of the image's is, but for /tmp. The mark
        # hides what the image has in it, as this user may not look at it.
        return (f"{self.scratch}/home", *request.lowers)

    def _skeleton(self, request: RootRequest, links: Mapping[str, str]) -> str:
        """A layer below all others that has the places where something is mounted.

        So nothing is written to a new root for them, and what was written to one is the user's.
        """
        files = {one.target for one in request.shown if not os.path.isdir(one.source)}
        files.update(_NETWORK_FILES)
        wanted = {*_DIRECTORIES, *request.directories, *(one.target for one in request.shown)}
        all_of_it = (sorted(wanted), sorted(files), sorted(links.items()))
        name = hashlib.sha256(repr(all_of_it).encode()).hexdigest()[:16]
        layer = f"{self.scratch}/places-{name}"
        if not os.path.isdir(layer):
            draft = f"{layer}.draft-{os.getpid()}"
            for target in wanted - files:
                os.makedirs(draft + target, exist_ok=True)
            for target in files:
                _make_file(draft + target)
            for target, text in links.items():
                _make_link(draft + target, text)
            os.chmod(f"{draft}/tmp", 0o1777)
            try:
                os.rename(draft, layer)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                shutil.rmtree(draft)  # another copy of this process was quicker
        return layer


def _furnish(request: RootRequest, devices: str, links: Mapping[str, str]) -> None:
    """After the pivot: absolute paths are the root's, relative ones the machine's."""
    _refuse_inside(request, links)
    mounts.mount(devices.lstrip("/"), "/dev", flags=_EVERYTHING)
    mounts.make_read_only("/dev", bound=True)
    mounts.mount("tmpfs", "/dev/shm", "tmpfs", _SHM_FLAGS, "mode=1777")
    device_files.mount_pts("/dev/pts")
    mounts.mount("sys", "/sys", flags=_EVERYTHING)
    mounts.make_read_only("/sys", bound=True)
    mounts.mount("tmpfs", "/run", "tmpfs", _SHM_FLAGS, "mode=755")
    os.mkdir("/run/lock", 0o1777)
    for path in request.run_files:
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(path.lstrip("/"), "/run")
    for path in _NETWORK_FILES:
        if os.path.exists(path.lstrip("/")):
            _show(Shown(path, path))
    for one in sorted(request.shown, key=lambda one: one.target):
        _show(one)
    for target, text in links.items():
        _make_link(target, text)


def _refuse_inside(request: RootRequest, links: Mapping[str, str]) -> None:
    """Refuse a local file or folder whose place is in another directory of the machine's, such as a
    volume: its mount point would be made there. Raises OSError."""
    others = [
        (os.path.realpath(one.target), one.target)
        for one in request.shown
        if not one.laid and os.path.isdir(one.source.lstrip("/"))
    ]
    places = {one.target: os.path.realpath(one.target) for one in request.shown if one.laid}
    for target in links:
        folder, name = os.path.split(target)
        places[target] = os.path.join(os.path.realpath(folder), name)
    for target, place in places.items():
        for other, named in others:
            if place == other or place.startswith(f"{other}/"):
                raise OSError(
                    errno.EINVAL,
                    f"a local file or folder is to be shown at {target}, which is in what is "
                    f"mounted at {named}: give it a place outside of that",
                )


def _show(one: Shown) -> None:
    source = one.source.lstrip("/")
    target = os.path.realpath(one.target)  # the image may have a link there
    if not os.path.exists(target):
        if stat.S_ISDIR(os.stat(source).st_mode):
            os.makedirs(target)
        else:
            _make_file(target)
    mounts.mount(source, target, flags=mounts.MS_BIND)
    if one.read_only:
        mounts.make_read_only(target, bound=True)


def _make_file(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _make_link(path: str, text: str) -> None:
    if os.path.islink(path) and os.readlink(path) == text:
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(text, path)
