"""Removes layers so that the rest fits into its budget of disk.

The least recently used go first, and none before those that stand on it. Copies of local files go
with them where that is asked for. Knows nothing of builds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from rekindle import paths
from rekindle.exception import ImageError
from rekindle.linux.disk_use import disk_bytes
from rekindle.runtime.images import builds_left, kept_files
from rekindle.runtime.images.kept_files import KeptFiles
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.store import FILES, LayerStore, mounted
from rekindle.snapshot import budget

VARIABLE = "REKINDLE_IMAGES_BUDGET_BYTES"
#: What was used so lately is somebody's who is about to start something.
LATELY_S = 600.0


class _Item(Protocol):
    """What may go."""

    @property
    def name(self) -> str: ...
    @property
    def parent(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


_Any = TypeVar("_Any", bound=_Item)


@dataclass(frozen=True)
class Usage:
    """What images take, in bytes."""

    layers: int
    size_bytes: int
    files_bytes: int
    cache_bytes: int
    budget_bytes: int
    free_bytes: int


def budget_of(root: Path) -> int:
    """Bytes that layers may take: what the environment says, or a share of the disk.

    Raises InvalidError.
    """
    if (asked := asked_budget()) is not None:
        return asked
    return min(
        int(shutil.disk_usage(_on_disk(root)).total * budget.DEFAULT_SHARE), budget.DEFAULT_MOST
    )


def asked_budget() -> int | None:
    """What the environment says; None where it says nothing. Raises InvalidError."""
    return budget.asked(VARIABLE)


def _on_disk(root: Path) -> Path:
    """What is there already of the disk on which a directory is, or will be."""
    return next(one for one in (root, *root.parents) if one.exists())


def to_remove(
    layers: Iterable[_Any], used_s: dict[str, float], staying: set[str], budget_bytes: int
) -> list[_Any]:
    """Those to remove so that the rest fits, in the order to remove them.

    ``used_s``: when each was used last; ``staying``: names that may not go, with all below them.
    """
    left = {layer.name: layer for layer in layers}
    size = sum(layer.size_bytes for layer in left.values())
    found: list[_Any] = []
    while size > budget_bytes:
        carrying = {layer.parent for layer in left.values()}
        free = [n for n in left if n not in carrying and n not in staying]
        if not free:
            break
        oldest = min(free, key=lambda name: used_s.get(name, 0.0))
        found.append(left.pop(oldest))
        size -= found[-1].size_bytes
    return found


def collect(
    store: LayerStore, budget_bytes: int | None = None, *, dry_run: bool = False
) -> list[Layer | KeptFiles]:
    """Remove layers until the rest is within the budget; what went, or would.

    With ``budget_bytes`` it is the user's, who knows what is about to start: nothing is spared for
    having been used lately, and copies of local files count and go as layers do.
    """
    limit = budget_of(store.root) if budget_bytes is None else budget_bytes
    layers = _as_here(store)
    files = [] if budget_bytes is None else kept_files.all_in(_files_dirs(store))
    used_s = {layer.name: store.used_s(layer.name) for layer in layers}
    lately = time.time() - (LATELY_S if budget_bytes is None else 0.0)
    staying = {name for name, when in used_s.items() if when > lately}
    used_s |= {one.name: one.used_s for one in files}
    items: list[Layer | KeptFiles] = [*layers, *files]
    staying |= mounted([one.name for one in items])
    chosen = to_remove(items, used_s, staying, limit)
    if dry_run:
        return chosen
    gone: list[Layer | KeptFiles] = []
    for one in chosen:
        with contextlib.suppress(ImageError):  # a runner has it since
            kept_files.remove(one) if isinstance(one, KeptFiles) else store.remove(one.name)
            gone.append(one)
    store.remove_leftovers()
    if budget_bytes is None:
        builds_left.remove(store, limit)
    for folder in _files_dirs(store):
        kept_files.remove_old(folder, mounted)
    return gone


def remove_files(store: LayerStore) -> list[KeptFiles]:
    """Remove all copies of local files that no runner has; those that went."""
    files = kept_files.all_in(_files_dirs(store))
    staying = mounted([one.name for one in files])
    gone = [one for one in files if one.name not in staying]
    for one in gone:
        kept_files.remove(one)
    return gone


def standing_on(layers: Iterable[Layer], name: str) -> list[Layer]:
    """The layers that stand on one, the topmost first."""
    known = list(layers)
    direct = [layer for layer in known if layer.parent == name]
    above = [one for layer in direct for one in (*standing_on(known, layer.name), layer)]
    return list({one.name: one for one in above}.values())


def _as_here(store: LayerStore) -> list[Layer]:
    """All layers, each as large as it is on this machine's disk."""
    return [
        dataclasses.replace(one, size_bytes=store.local_bytes(one)) if one.packing else one
        for one in store.all()
    ]


def _files_dirs(store: LayerStore) -> list[Path]:
    """Where the local files of its images are: in it, and what may not be written there."""
    own, places = store.root / FILES, paths.local_files_dirs()
    return places if own in places else [own]


def usage(store: LayerStore) -> Usage:
    """What images take on this machine."""
    layers = _as_here(store)
    return Usage(
        layers=len(layers),
        size_bytes=sum(layer.size_bytes for layer in layers),
        files_bytes=sum(map(disk_bytes, _files_dirs(store))),
        cache_bytes=sum(disk_bytes(store.root / one) for one in (builds_left.DOWNLOADS, "tools")),
        budget_bytes=budget_of(store.root),
        free_bytes=shutil.disk_usage(_on_disk(store.root)).free,
    )
