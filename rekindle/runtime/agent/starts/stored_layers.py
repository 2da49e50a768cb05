"""Layers that nodes share: used before they are here, completed behind that, and pushed once.

A layer that came from the store is one file, which is mounted in the roots that are made of it. It
is a lazy file at first; what the first starts of all nodes are known to touch comes first, and once
it has been quiet for a while, the rest. When all is here, it becomes an ordinary file. Where there
is no FUSE, or no room among lazy files, it is fetched whole before the first start. A part that
cannot be had ends who reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.background_tasks import BackgroundTasks
from rekindle.blobs.lazy.client import LazyFiles, Opened
from rekindle.blobs.store import BlobStore
from rekindle.exception import (
    BlobError,
    BlobRoomError,
    Error,
    ImageError,
)
from rekindle.runtime.agent.apart import apart
from rekindle.runtime.agent.starts import layer_users
from rekindle.runtime.agent.starts.packed_files import PackedFiles
from rekindle.runtime.agent.starts.store_pushes import StorePushes
from rekindle.runtime.images import layer_gc, sharing
from rekindle.runtime.images.built import BuiltImage
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.store import LayerStore
from rekindle.runtime.images.stored import StoredLayer
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: What nobody has read for so long has been started from: the rest is fetched from then on.
_QUIET_S = 3.0
_LOOK_S = 1.0
#: What could not be kept, for want of room, say, is tried again so much later.
_AGAIN_S = 60.0
#: A layer that no root is made of stays mounted for so long.
_IDLE_S = 60.0
#: Layers that were looked after and are remembered at a time.
_MOST_PUSHED = 4096
_LOST = {one.__name__ for one in sharing.LOST}


@dataclass(eq=False)
class StoredLayers:
    """See the module. For the event loop, where nothing else is said."""

    #: None where this node shares nothing.
    blobs: BlobStore | None
    lazy: LazyFiles | None
    scratch: Path
    packed: PackedFiles
    #: Of the process of which all that runs in roots descends.
    spawner_pid: int
    #: Have layers at these places not be mounted for new roots.
    let_go: Callable[[list[str]], Awaitable[None]]
    #: Blob -> the layer that it is.
    _layers: dict[str, Layer] = field(default_factory=dict)
    #: Layers and the builds of them that were looked after: another build is put there again.
    _pushed: set[tuple[str, str]] = field(default_factory=set)
    _pushes: StorePushes = field(default_factory=lambda: StorePushes("layers"))
    _tasks: BackgroundTasks = field(default_factory=BackgroundTasks)
    _closing: asyncio.Event = field(default_factory=asyncio.Event)
    _watching: bool = False
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __post_init__(self) -> None:
        if self.lazy is not None:
            self.lazy.on_failed = self._failed

    # ---- having --------------------------------------------------------------------------------

    async def have(self, image: BuiltImage, say: Callable[[str], None]) -> None:
        """Have the layers of an image so that roots can be made of it; those that were built here
        are pushed. ``say`` is told what takes long. Raises BlobError, LayerLostError, and other
        ImageErrors."""
        local = LayerStore()
        self.packed.are_there(map(str, image.lowers))
        for place in set(image.lowers).difference(image.packed):
            self.packed.arriving.pop(str(place), None)  # it was built here meanwhile
        # The base first: what runs first reads from there.
        names = [place.parent.name for place in reversed(image.packed)]
        having = (self._have_one(local, name, say) for name in names)
        # All of them, so that none is found to be lost while it is built upon already.
        for failed in await asyncio.gather(*having, return_exceptions=True):
            if failed is not None:
                raise failed
        if names and not self._watching:
            self._watching = True
            self._tasks.spawn(self._watch())
        if self.blobs is not None and image.lowers:
            self._push_soon([lower.parent.name for lower in reversed(image.lowers)])

    async def _have_one(self, local: LayerStore, name: str, say: Callable[[str], None]) -> None:
        layer, place = local.get(name), str(local.place(name))
        if layer is None or local.packed(name).exists():
            return
        stored = local.stored(name)
        lazy = self._lazy_of(stored)
        if lazy is not None and stored is not None:
            if self._arrives(place, stored.blob):
                return
            try:
                await self._have_lazily(local, layer, stored.blob, lazy)
                return
            except BlobRoomError as error:
                say(f"layer {name[:12]} ({layer.title}) is fetched whole first: {error}")
                log.warning("layer is fetched whole", extra=kv(layer=name, reason=error))
        self.packed.arriving.pop(place, None)
        await apart(lambda: _have_whole(local, layer))

    async def _have_lazily(
        self, local: LayerStore, layer: Layer, blob: str, lazy: LazyFiles
    ) -> None:
        """Raises BlobRoomError where there is no room for such a file; LayerLostError, and other
        ImageErrors."""
        place = str(local.place(layer.name))
        self._layers[blob] = layer
        try:
            opened = await asyncio.to_thread(lazy.look, blob)
        except BlobRoomError:
            raise
        except BlobError as error:
            self._note(layer, blob, str(error), type(error).__name__)
            if isinstance(error, sharing.LOST):
                raise sharing.lost(layer, str(error)) from error
            raise ImageError(sharing.explained(layer, str(error))) from error
        if self._arrives(place, blob):  # for another function, meanwhile
            return
        self.packed.arriving[place] = opened.path
        self._tasks.spawn(self._complete(local, layer, blob, opened))

    def _arrives(self, place: str, blob: str) -> bool:
        """Whether just this blob is what is on its way of a layer: another took its place, else."""
        path = self.packed.arriving.get(place)
        return path is not None and path.name == blob

    def _lazy_of(self, stored: StoredLayer | None) -> LazyFiles | None:
        """What serves a layer before it is here; None where it is to be fetched whole."""
        known = stored is not None and self.blobs is not None and stored.url == self.blobs.url
        return self.lazy if known and self.lazy is not None and not self.lazy.ended else None

    async def _complete(self, local: LayerStore, layer: Layer, blob: str, opened: Opened) -> None:
        """Have all of a layer, and say in the store what its first starts touched."""
        assert self.lazy is not None
        place = str(local.place(layer.name))
        while self._arrives(place, blob) and not (self._closing.is_set() or self.lazy.ended):
            if await self._keep(local, layer, blob, opened):
                break
            await self._pause(_AGAIN_S)
        else:
            return  # the store has it damaged, and it was forgotten; or nothing arrives any more
        # Roots that are made from now on are of the ordinary file; others keep what they have.
        self.packed.arriving.pop(place, None)
        with contextlib.suppress(Error):  # the process that makes roots is gone, and its mounts
            await self.let_go([place])
        with contextlib.suppress(BlobError):
            await asyncio.to_thread(self.lazy.give_up, blob)
        log.info("layer has arrived", extra=kv(layer=layer.name, bytes=opened.size))
        await asyncio.to_thread(layer_gc.collect, local)

    async def _keep(self, local: LayerStore, layer: Layer, blob: str, opened: Opened) -> bool:
        """Whether all of it has become an ordinary file; else it may, the next time."""
        assert self.lazy is not None
        place = str(local.place(layer.name))
        try:
            touched = await self._until_quiet(blob)
            if not opened.hinted and touched:
                await self._record(layer, blob, touched)
            await asyncio.wrap_future(await asyncio.to_thread(self.lazy.rest, blob))
            if not self._arrives(place, blob):
                return False
            await asyncio.to_thread(self.lazy.place, blob, local.packed(layer.name))
        except (BlobError, OSError) as error:
            log.warning("layer did not arrive", extra=kv(layer=layer.name, reason=error))
            if isinstance(error, sharing.LOST):
                self._note(layer, blob, str(error), type(error).__name__)
                with contextlib.suppress(BlobError):
                    await asyncio.to_thread(self.lazy.give_up, blob)
            return False
        return True

    async def _record(self, layer: Layer, blob: str, touched: list[int]) -> None:
        assert self.blobs is not None
        try:
            await apart(functools.partial(self.blobs.put_hint, blob, touched))
        except BlobError as error:  # another node records it
            log.warning("no hint recorded", extra=kv(layer=layer.name, reason=error))

    async def _until_quiet(self, blob: str) -> list[int]:
        """The chunks that were touched by when nobody has touched another one for a while."""
        assert self.lazy is not None
        chunks: list[int] = []
        changed_at = time.monotonic()
        while not self._closing.is_set():
            now = (await asyncio.to_thread(self.lazy.touched, blob)).chunks
            if len(now) != len(chunks):
                chunks, changed_at = now, time.monotonic()
            elif chunks and time.monotonic() - changed_at >= _QUIET_S:
                break
            await self._pause(_LOOK_S)
        return chunks

    async def _watch(self) -> None:
        """Unmount what no root is made of: until then nothing of it can be removed."""
        while not self._closing.is_set():
            await self._pause(_IDLE_S / 4)
            if idle := self.packed.idle(_IDLE_S):
                with contextlib.suppress(Error):
                    await self.let_go(idle)
                for place in idle:
                    self.packed.forget(place)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    # ---- what cannot be read -------------------------------------------------------------------

    def why_lost(self, image: BuiltImage | None) -> str:
        """Why a part of an image could not be read just now; "" where all of it could."""
        return self.packed.why_lost(map(str, image.packed)) if image is not None else ""

    def is_lost(self, image: BuiltImage | None) -> bool:
        """Whether the store has lost or damaged a part of an image, which is to be found again."""
        return image is not None and self.packed.is_lost(map(str, image.packed))

    def serves(self, image: BuiltImage) -> bool:
        """Whether what is on its way of an image still comes."""
        arriving = self.packed.arriving
        lost = self.lazy is not None and bool(self.lazy.ended)
        return not lost or not any(str(place) in arriving for place in image.packed)

    def _failed(self, blob: str, reason: str, kind: str) -> None:
        """A part of a lazy file does not come. In a thread; whoever reads waits until it returns,
        so that no program of the user's sees an error that is none of its own."""
        layer = self._layers.get(blob)
        if layer is None:
            return
        self._loop.call_soon_threadsafe(self._note, layer, blob, reason, kind)
        ended = layer_users.end(self.spawner_pid, layer.name)
        log.error("layer cannot be read", extra=kv(layer=layer.name, reason=reason, ended=ended))

    def _note(self, layer: Layer, blob: str, reason: str, kind: str) -> None:
        local = LayerStore()
        place = str(local.place(layer.name))
        self.packed.failed(place, sharing.explained(layer, reason), is_lost=kind in _LOST)
        if kind in _LOST:
            # It will not come, however long it is waited for: it is built here the next time.
            if self._arrives(place, blob):
                del self.packed.arriving[place]
            try:
                local.note_damaged(layer.name, blob)
            except (OSError, ImageError) as error:
                log.warning("damage not noted", extra=kv(layer=layer.name, reason=error))

    # ---- pushing -------------------------------------------------------------------------------

    def _push_soon(self, names: list[str]) -> None:
        """Put layers into the store, each after the one that it stands on."""

        def mends() -> bool:
            return any(map(LayerStore().knows_damage, names))

        self._pushes.soon(names[-1], lambda: self._push_now(names), mends)

    def _push_now(self, names: list[str]) -> None:
        """Blocks. Raises BlobError, SetupError, OSError for the first that is not taken."""
        assert self.blobs is not None
        local = LayerStore()
        for name in names:
            layer = local.get(name)
            if layer is None or (name, layer.build) in self._pushed:
                continue
            mends = local.knows_damage(name)
            if self._closing.is_set() and not mends:
                continue
            began = time.monotonic()
            there = sharing.push(
                *(self.blobs, local, name, self.scratch / "packing"),
                stopped=(lambda: self._pushes.cut) if mends else self._closing.is_set,
            )
            if len(self._pushed) >= _MOST_PUSHED:  # those that are used are looked at again
                self._pushed.clear()
            self._pushed.add((name, layer.build))
            took_s = round(time.monotonic() - began, 1)
            log.info("layer looked after", extra=kv(layer=name, in_store=there, s=took_s))

    # ---- life ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Give up what is on its way, in either direction; lazy files are closed by then.

        What is to take the place of damage in the store may still be put there.
        """
        self._closing.set()
        await self._pushes.close()
        await self._tasks.cancel()


def _have_whole(local: LayerStore, layer: Layer) -> None:
    with local.building(layer.name, lambda: None):
        sharing.have_whole(local, layer)
