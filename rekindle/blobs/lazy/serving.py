"""What the serving process does: its owner's orders on one thread, FUSE's requests on others."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rekindle.blobs.lazy.cache import LazyCache
from rekindle.blobs.lazy.control import Control
from rekindle.blobs.lazy.file import LazyFile, in_words
from rekindle.blobs.lazy.operations import FILE_MODE, BlobFiles
from rekindle.blobs.store import open_store
from rekindle.exception import BlobError, Error

#: Readers that wait at the same time; others wait in the kernel.
_MAX_THREADS = 64
_MAX_IDLE_THREADS = 8
#: What the owner may take for what it does about a read that fails.
_NOTED_S = 5.0


def serve(connection: socket.socket, settings: dict[str, Any]) -> int:
    """Serve until the owner is gone."""
    control = Control(connection)
    try:
        store = open_store(settings["url"])
        cache = LazyCache(
            Path(settings["folder"]),
            store,
            budget_bytes=settings["budget_bytes"],
            wait_s=settings["wait_s"],
            lost=lambda file, error: control.say(
                event="failed", blob=file.blob, reason=in_words(error, file)
            ),
        )
    except (Error, OSError) as error:
        control.say(event="refused", reason=str(error))
        return 1
    threading.Thread(target=_end_when_told, args=(control,), name="end", daemon=True).start()
    orders = Orders(cache, control)
    threading.Thread(target=orders.follow, name="orders", daemon=True).start()
    files = BlobFiles(
        cache,
        ready=lambda: control.say(event="ready"),
        failed=orders.failed,
    )
    import mfusepy

    options: dict[str, Any] = {"allow_other": True} if os.geteuid() == 0 else {}
    try:
        mfusepy.FUSE(
            files,
            settings["mountpoint"],
            foreground=True,
            ro=True,
            default_permissions=True,
            fsname="rekindle",
            subtype="blobs",
            max_threads=_MAX_THREADS,
            max_idle_threads=_MAX_IDLE_THREADS,
            **options,
        )
    except RuntimeError as error:
        control.say(event="refused", reason=f"FUSE does not mount (libfuse's status {error})")
        return 1
    return 0


def _end_when_told(control: Control) -> None:
    """At once: whoever reads gets an error from the kernel, and the mount is taken away."""
    signal.sigwait({signal.SIGTERM})
    control.say(event="ended", reason="somebody told it to end (SIGTERM)")
    os._exit(0)


class Orders:
    """What the owner asks for, one after the other."""

    def __init__(self, cache: LazyCache, control: Control) -> None:
        self._cache = cache
        self._control = control
        #: None: the answer comes later.
        self._known: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
            "open": self._open,
            "rest": self._rest,
            "touched": self._touched,
            "place": self._place,
            "give_up": self._give_up,
            "usage": self._usage,
            "noted": self._noted,
        }
        self._numbers = itertools.count(1)
        self._unnoted: dict[int, threading.Event] = {}

    def follow(self) -> None:
        """Until the owner is gone: then this process is, at once, whatever it is doing."""
        with self._control.connection.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                order = json.loads(line)
                # Each by itself: a store that does not answer must not keep the others waiting.
                threading.Thread(target=self._do, args=(order,), daemon=True).start()
        os._exit(0)

    def failed(self, file: LazyFile, error: Exception) -> None:
        """Tell the owner that a read fails; returns once it has done what it does about that.

        So whoever reads is ended by it, or is not, before an error is seen there.
        """
        number, noted = next(self._numbers), threading.Event()
        self._unnoted[number] = noted
        self._control.say(
            event="failed",
            blob=file.blob,
            reason=in_words(error, file),
            kind=type(error).__name__,
            number=number,
        )
        noted.wait(_NOTED_S)
        self._unnoted.pop(number, None)

    def _noted(self, order: dict[str, Any]) -> dict[str, Any]:
        if (noted := self._unnoted.get(order["number"])) is not None:
            noted.set()
        return {}

    def _do(self, order: dict[str, Any]) -> None:
        try:
            answer = self._known[order["do"]](order)
        except (Error, OSError) as error:
            self._refuse(order, error, str(error))
        else:
            if answer is not None:
                self._control.say(id=order["id"], **answer)

    def _refuse(self, order: dict[str, Any], error: Exception, reason: str) -> None:
        kind = type(error).__name__ if isinstance(error, BlobError) else "BlobError"
        self._control.say(id=order["id"], error=reason, kind=kind)

    def _open(self, order: dict[str, Any]) -> dict[str, Any]:
        file = self._cache.open(order["blob"])
        hint = order["first"]
        if hint is None:
            hint = self._cache.hint(file.blob)
        file.first(hint)
        return {"size": file.index.size, "hinted": len(hint), "complete": file.sparse.is_complete}

    def _file(self, order: dict[str, Any]) -> LazyFile:
        file = self._cache.files.get(order["blob"])
        if file is None:
            raise BlobError(f"blob {order['blob']} is not open")
        return file

    def _rest(self, order: dict[str, Any]) -> None:
        file = self._file(order)

        def done(error: Exception | None) -> None:
            if error is None:
                self._control.say(id=order["id"])
            else:
                self._refuse(order, error, in_words(error, file))

        file.rest(done)

    def _touched(self, order: dict[str, Any]) -> dict[str, Any]:
        file = self._file(order)
        return {"chunks": list(file.touched), "received_bytes": file.received_bytes}

    def _place(self, order: dict[str, Any]) -> dict[str, Any]:
        file = self._file(order)
        if not file.sparse.is_complete:
            raise BlobError(f"blob {file.blob} has not arrived yet")
        # Who opens it by its old name, until the owner gives that up, finds it there, too.
        file.sparse.complete(Path(order["target"]), FILE_MODE)
        return {}

    def _give_up(self, order: dict[str, Any]) -> dict[str, Any]:
        self._cache.give_up(order["blob"])
        return {}

    def _usage(self, _order: dict[str, Any]) -> dict[str, Any]:
        return {"disk_bytes": self._cache.disk_bytes(), "files": len(self._cache.files)}
