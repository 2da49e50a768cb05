"""What builds leave beside layers: downloads of package managers, logs, locks, and what killed
processes began. None of it is needed: without a download the next build fetches it again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from rekindle.linux import files
from rekindle.linux.disk_use import disk_bytes
from rekindle.runtime.images.store import LOCKS, LOGS, LayerStore

#: Below the store, a folder for each package manager.
DOWNLOADS = "cache"
#: Of the budget of layers, downloads have this part.
_PART = 4
#: A log whose layer is not there: of a build that failed.
_LOG_KEPT_S = 30 * 86400.0
#: What a process that was killed began, in the store and in the folder of tools.
_BEGUN = (".overlay-*", "tools/.draft-*")
_BEGUN_KEPT_S = 86400.0


def remove(store: LayerStore, budget_bytes: int) -> None:
    """Remove what is old or too much; none that a build has. ``budget_bytes``: of layers."""
    _remove_downloads(store, budget_bytes // _PART)
    for log in _in(store.root / LOGS):
        if store.get(log.name) is None and _age_s(log) > _LOG_KEPT_S:
            log.unlink(missing_ok=True)
    for lock in _in(store.root / LOCKS):
        _remove_lock(lock)
    for pattern in _BEGUN:
        for place in store.root.glob(pattern):
            if _age_s(place) > _BEGUN_KEPT_S:
                shutil.rmtree(place, ignore_errors=True)


def _remove_downloads(store: LayerStore, most_bytes: int) -> None:
    """Those of the package manager that has most go as a whole: it knows what refers to what."""
    sizes = {place: disk_bytes(place) for place in _in(store.root / DOWNLOADS)}
    while sum(sizes.values()) > most_bytes:
        place = max(sizes, key=lambda one: sizes[one])
        del sizes[place]
        # Builds that have it keep it meanwhile.
        store.set_aside(place, f"downloads_{place.name}")
        place.mkdir(exist_ok=True)
    store.remove_leftovers()


def _remove_lock(place: Path) -> None:
    """Who waits for it sees that it is another one by then, and begins anew."""
    with contextlib.suppress(OSError):
        fd = os.open(place, os.O_RDWR | os.O_CLOEXEC)
        try:
            if files.try_lock(fd) and os.path.samestat(os.fstat(fd), place.stat()):
                place.unlink()
        finally:
            os.close(fd)


def _age_s(place: Path) -> float:
    try:
        return time.time() - place.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _in(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
