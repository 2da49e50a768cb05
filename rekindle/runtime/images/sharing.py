"""Layers that nodes share through a store of blobs: looked for before they are built, and put there
once they are.

A layer's name in the store is its own, so who needs the same step on the same parent finds it. It
is named there after all of it is there; who is killed leaves chunks that nothing names. What is
found becomes a layer of this machine by its record alone, where this machine can mount it: its
files are one file then, which may arrive later. Elsewhere it is fetched whole and unpacked.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle import paths
from rekindle.blobs import archive, erofs, layers, transfer, waiting
from rekindle.blobs.layers import Packing
from rekindle.blobs.pushing import push_apart
from rekindle.blobs.store import BlobStore, Patience, Ref, open_store
from rekindle.exception import (
    BlobDamagedError,
    BlobError,
    BlobNotFoundError,
    ImageError,
    LayerLostError,
    SetupError,
)
from rekindle.linux import files, overlay
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.store import LayerStore
from rekindle.runtime.images.stored import StoredLayer
from rekindle.runtime.isolation import privilege
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Of the names of layers in a store.
KIND = "layers"
#: Layers that are looked for at a time.
_AT_ONCE = 8
#: What is so will not come, however often it is asked for.
LOST = (BlobDamagedError, BlobNotFoundError)


@dataclass(frozen=True)
class Found:
    """A layer in the store: its record, and what it takes to have its files."""

    layer: Layer
    stored: StoredLayer


def of_environment() -> BlobStore | None:
    """The store that this process's environment names. Raises SetupError, InvalidError."""
    url = paths.shared_store_url()
    return open_store(url) if url else None


def why_not_mounted() -> str:
    """Why this process cannot have layers mounted, in words; "" where it can."""
    if not privilege.is_root_like():
        return "only root mounts an EROFS file"
    if not erofs.kernel_has_it():
        return "this kernel has no EROFS"
    return ""


# ---- looking -----------------------------------------------------------------------------------


def log_passed_over(name: str, reason: str) -> None:
    """For who has nobody to say it to."""
    log.warning("layer in the store passed over", extra=kv(layer=name, reason=reason))


def look(
    store: BlobStore,
    names: Iterable[str],
    passed_over: Callable[[str, str], None] = log_passed_over,
    slow: Callable[[], object] = bool,
) -> dict[str, Found]:
    """Those of some layers that the store has, looked for at once.

    ``passed_over`` is called with the name of what it has damaged, and how, in threads; ``slow``
    when the store lets itself be waited for. Raises BlobStoreError, InvalidError.
    """
    # A start waits for it, so it is not asked for long.
    quick = BlobStore(store.objects, Patience(attempts=2))
    found = waiting.ask_all(
        *(lambda name: _look(quick, name, passed_over), names),
        url=store.url,
        at_once=_AT_ONCE,
        seconds=waiting.wait_s(),
        slow=slow,
    )
    return {one.layer.name: one for one in found if one is not None}


def _look(
    store: BlobStore, name: str, passed_over: Callable[[str, str], None] = log_passed_over
) -> Found | None:
    try:
        ref = store.ref(KIND, name)
        return None if ref is None else _found(ref, store.url)
    except BlobDamagedError as error:
        passed_over(name, str(error))
        return None


def _found(ref: Ref, url: str) -> Found:
    """Raises BlobDamagedError."""
    try:
        layer = Layer.from_json(json.dumps(ref.about["layer"]))
        about = ref.about
        stored = StoredLayer.from_raw({**about, "url": url, "blob": ref.blobs[0]})
        if layer.name != ref.name or stored.packing not in {one.value for one in Packing}:
            raise ValueError("it is another layer's, or of a newer rekindle")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BlobDamagedError(f"layer {ref.name} in {url} cannot be read: {error}") from error
    return Found(layer, stored)


# ---- having it here ----------------------------------------------------------------------------


def adopt(store: BlobStore, local: LayerStore, found: Found, say: Callable[[str], None]) -> Layer:
    """Make what was found a layer of this machine; who calls holds its lock.

    Raises BlobError, SetupError, OSError.
    """
    layer, stored = found.layer, found.stored
    why = why_not_mounted()
    known = f"{layer.title} (layer {layer.name[:12]})"
    mounted = stored.packing == Packing.EROFS.value and not why
    draft = local.draft(layer.name)
    try:
        if mounted:
            layer = dataclasses.replace(layer, packing=stored.packing)
            say(f"{known} is in the store {store.url}")
        else:
            why = why or "it is an archive"
            say(f"{known} is in the store {store.url}; it is fetched whole and unpacked, as {why}")
            file = draft.scratch / "layer"
            try:
                transfer.fetch(store, stored.blob, file)
            except LOST:
                local.note_damaged(layer.name, stored.blob)
                raise
            _unpack(file, draft.root, stored)
        local.publish(draft, layer, stored)
    except BaseException:
        local.give_up(draft)
        raise
    return layer


def _unpack(file: Path, root: Path, stored: StoredLayer) -> None:
    if stored.packing == Packing.TAR.value:
        archive.unpack(file, root)
        return
    root.rmdir()
    erofs.unpack(file, root)
    if os.geteuid() != 0:
        for name in stored.opaque:
            os.setxattr(root / name, overlay.OPAQUE_OF_A_USER, b"y", follow_symlinks=False)


def have_whole(local: LayerStore, layer: Layer) -> Path:
    """The one file of a layer, fetched whole where it is not here yet; who calls holds its lock.

    What the store has lost or damaged is no layer any more: LayerLostError. Raises ImageError.
    """
    file = local.packed(layer.name)
    if file.exists():
        return file
    stored = local.stored(layer.name)
    if stored is None:
        raise ImageError(
            f"layer {layer.name[:12]} ({layer.title}) is not whole on this machine, and it is not "
            f"known where else it is; `rekindle image rm {layer.name[:12]}` has it built again"
        )
    try:
        transfer.fetch(_opened(stored), stored.blob, file, mode=0o400)
    except LOST as error:
        local.note_damaged(layer.name, stored.blob)
        raise lost(layer, str(error)) from error
    except (BlobError, SetupError) as error:
        raise ImageError(explained(layer, str(error))) from error
    return file


def _opened(stored: StoredLayer) -> BlobStore:
    """The store that has a layer. Raises SetupError, BlobError."""
    store = of_environment()
    if store is not None and store.url == stored.url:  # whose password is kept nowhere else
        return store
    return open_store(stored.url)


def explained(layer: Layer, reason: str) -> str:
    """Why a layer could not be read, naming it; the reason names the store."""
    return f"layer {layer.name[:12]} ({layer.title}) could not be read: {reason}"


def lost(layer: Layer, reason: str) -> LayerLostError:
    """The same of what the store has lost or damaged."""
    again = "it is not used again, and built here the next time that it is needed"
    return LayerLostError(f"{explained(layer, reason)}; {again}")


# ---- putting it there --------------------------------------------------------------------------


def push(
    store: BlobStore,
    local: LayerStore,
    name: str,
    scratch: Path,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Put a layer into the store unless it is there, and of use, in a process that gives way to all
    others; whether it, as it is here, is there now.

    It blocks. Raises BlobError, SetupError, OSError.
    """
    layer = local.get(name)
    if layer is None or layer.packing:
        return layer is not None
    there = _look(store, name)
    again = there is not None and local.is_damaged(name, there.stored.blob)
    if there is not None and there.layer.build == layer.build and not again:
        local.note_stored(name, there.stored)
        return True
    parent = _look(store, layer.parent) if layer.parent else None
    if layer.parent and (parent is None or parent.layer.build != layer.parent_build):
        return False  # nobody who has it from the store could use what stands on another build
    usable = there is not None and there.layer.parent_build == layer.parent_build
    newer = layer.forced and there is not None and layer.created_s > there.layer.created_s
    if usable and not newer and not again:
        return False  # another node was first
    stored = _put(store, local, layer, scratch, stopped, overwrite=again)
    if stored is not None:
        local.is_mended(name)
        local.note_stored(name, stored)
    return stored is not None


def _put(
    store: BlobStore,
    local: LayerStore,
    layer: Layer,
    scratch: Path,
    stopped: Callable[[], bool],
    *,
    overwrite: bool,
) -> StoredLayer | None:
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = scratch / f"{layer.name}.layer"
    file.unlink(missing_ok=True)
    root = local.place(layer.name)
    try:
        packing = layers.pack_layer(root, file)
        opaque = tuple(_opaque_directories(root))
        if (now := local.get(layer.name)) is None or now.build != layer.build:
            return None  # removed meanwhile: what was packed may be a part of it
        (pushed,) = push_apart(store.address, [file], stopped, overwrite=overwrite)
    finally:
        file.unlink(missing_ok=True)
    stored = StoredLayer(
        url=store.url, blob=pushed.blob, packing=packing.value, size=pushed.size, opaque=opaque
    )
    about: dict[str, Any] = {
        "layer": dataclasses.asdict(layer),
        "packing": stored.packing,
        "size": stored.size,
        "opaque": list(opaque),
        "title": layer.title,
    }
    store.put_ref(KIND, layer.name, [stored.blob], about)
    return stored


def _opaque_directories(root: Path) -> Iterable[str]:
    """Folders that hide what is below them. Raises OSError: one that is missed shows on other nodes
    what the image has removed."""
    for folder, _folders, _names in os.walk(root, onerror=files.not_listed_unless_gone):
        if overlay.is_marked(folder, overlay.OPAQUE):
            yield os.path.relpath(folder, root)
