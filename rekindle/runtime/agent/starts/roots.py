"""Roots of processes that run in an image: made ahead, each entered once, removed when it is left.

What a process writes lies in a directory of its own root. What a template wrote before it parked is
one more layer below the roots of its copies, so it stays for as long as one of those does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import stat
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.exception import Error, StartError
from rekindle.runtime.images.root import RootRequest, Shown, upper_of
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: For forks: making one takes longer than all else of a fork.
DEPTH_FOR_FORKS = 4
#: Making more waits this long, so that it does not slow the start that took one.
_REFILL_AFTER_S = 0.02

#: What a source is, so that another one at its place is seen: device and inode.
_Identity = tuple[tuple[str, int, int], ...]


@dataclass(eq=False)
class Root:
    """One root. ``fd`` is its mount namespace, until it is entered."""

    fd: int
    place: Path
    shown: Sequence[Shown]
    shows: _Identity
    #: Called once it is removed.
    on_removed: Callable[[], None]
    _left: bool = False
    _kept: bool = False

    def has_writes(self) -> bool:
        """Whether anything was written to it."""
        with os.scandir(self.upper) as entries:
            return next(entries, None) is not None

    @property
    def upper(self) -> Path:
        """The directory of what was written to it."""
        return Path(upper_of(str(self.place)))

    def entered(self) -> None:
        """Close its descriptor: its process is inside, or never will be.

        The mounts end with the last process inside.
        """
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def keep(self) -> None:
        """Keep what was written to it until ``let_go``."""
        self._kept = True

    def let_go(self) -> None:
        """Keep what was written to it no longer."""
        self._kept = False
        if self._left:
            self._remove()

    def remove(self) -> None:
        """Remove it: no process is in it any more, or ever will be."""
        self.entered()
        if not self._left:
            self._left = True
            if not self._kept:
                self._remove()

    def _remove(self) -> None:
        asyncio.get_running_loop().run_in_executor(None, remove_tree, self.place)
        self.on_removed()


def remove_tree(place: Path) -> None:
    """Remove a directory, whatever modes what lies in it has."""

    def allow(_function: object, path: str, _error: object) -> None:
        parent = os.path.dirname(path)
        try:
            os.chmod(parent, 0o700)
            if not stat.S_ISLNK(os.lstat(path).st_mode):
                os.chmod(path, 0o700)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("not removed", extra=kv(path=path, reason=error))

    shutil.rmtree(place, onerror=allow)


@dataclass(eq=False)
class RootSource:
    """Makes roots that are all alike: the same layers, the same things shown."""

    #: Has one made. Raises StartError.
    _make: Callable[[RootRequest], Awaitable[int]]
    #: Makes a new name for the directory of one.
    _new_place: Callable[[], Path]
    #: Layers of the image, the topmost first.
    lowers: tuple[Path, ...]
    #: What is shown in it now. Raises StartError.
    shown: Callable[[], Awaitable[Sequence[Shown]]]
    directories: tuple[str, ...] = ()
    #: What templates wrote, above the layers; the latest first.
    written: tuple[Path, ...] = ()
    #: See RootRequest.
    run_files: tuple[str, ...] = ()
    #: Kept ready, once the first was taken.
    depth: int = 0
    #: Called when it is closed and the last of its roots is gone.
    on_done: Callable[[], object] = bool
    _ready: deque[Root] = field(default_factory=deque)
    _count: int = 0
    _closed: bool = False
    _refilling: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        _sources.add(self)

    async def take(self) -> Root:
        """One that nobody has entered. Raises StartError."""
        if self._closed:
            raise StartError("its template is gone")
        return self.take_ready() or await self._make_one()

    def take_ready(self) -> Root | None:
        """One that was made ahead, and shows what is there now."""
        self.prepare()
        while self._ready:
            root = self._ready.popleft()
            try:
                if root.shows == _identity_of(root.shown):
                    return root
            except StartError as error:
                log.info("a root made ahead is of no use", extra=kv(reason=error))
            root.remove()
        return None

    async def _make_one(self) -> Root:
        try:
            return await self._made()
        except OSError as error:
            raise StartError(f"a root of an image cannot be made: {error}") from error

    async def _made(self) -> Root:
        shown = await self.shown()
        identity = _identity_of(shown)
        place = self._new_place()
        request = RootRequest(
            lowers=tuple(map(str, self.lowers)),
            written=tuple(map(str, self.written)),
            place=str(place),
            shown=tuple(shown),
            directories=self.directories,
            run_files=self.run_files,
        )
        self._count += 1
        try:
            fd = await self._make(request)
        except BaseException:
            self._one_gone()
            asyncio.get_running_loop().run_in_executor(None, remove_tree, place)
            raise
        return Root(fd, place, shown, identity, self._one_gone)

    def with_more(
        self, written: Sequence[Path], more: Sequence[Shown], run_files: tuple[str, ...]
    ) -> RootSource:
        """A source of the same roots, with what was written before and more to be seen in them."""

        async def shown() -> Sequence[Shown]:
            return [*await self.shown(), *more]

        return RootSource(
            *(self._make, self._new_place, self.lowers, shown, self.directories),
            *((*written, *self.written), run_files),
        )

    def below(self, root: Root, *, depth: int, on_done: Callable[[], object]) -> RootSource:
        """For copies of a template that is in ``root``: what that wrote is below all of theirs."""
        written = (root.upper,) if root.has_writes() else ()
        return RootSource(
            *(self._make, self._new_place, self.lowers, self.shown, self.directories),
            *((*written, *self.written), (), depth, on_done),
        )

    def prepare(self) -> None:
        """See to it that some are ready soon."""
        if self.depth and self._refilling is None and not self._closed:
            self._refilling = asyncio.create_task(self._make_some())

    async def _make_some(self) -> None:
        try:
            await asyncio.sleep(_REFILL_AFTER_S)
            while len(self._ready) < self.depth and not self._closed:
                root = await self._make_one()
                if self._closed:
                    root.remove()
                else:
                    self._ready.append(root)
        except Error as error:
            log.warning("no root made ahead", extra=kv(reason=error))
        finally:
            self._refilling = None

    def close(self) -> None:
        """No more are taken."""
        if self._closed:
            return
        self._closed = True
        while self._ready:
            self._ready.popleft().remove()
        self._look_whether_done()

    def _one_gone(self) -> None:
        self._count -= 1
        self._look_whether_done()

    def _look_whether_done(self) -> None:
        if self._closed and not self._count:
            done, self.on_done = self.on_done, bool
            done()


#: All of this process. One stays for as long as any of its roots: these tell it when they go.
_sources: weakref.WeakSet[RootSource] = weakref.WeakSet()


def written_in_use() -> set[Path]:
    """What templates wrote that is below roots which are there, or may be made."""
    return {place for source in list(_sources) for place in source.written}


def _identity_of(shown: Sequence[Shown]) -> _Identity:
    found = []
    for one in shown:
        try:
            info = os.stat(one.source)
        except OSError as error:
            raise StartError(
                f"{one.source}, to be seen at {one.target} in an image, is not there: "
                f"{error.strerror}"
            ) from error
        found.append((one.target, info.st_dev, info.st_ino))
    return tuple(found)
