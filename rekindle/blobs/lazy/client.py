"""Lazy files, as their owner uses them: starts the process that serves, and tells it what to do.

``open`` gives a path at once; who reads there gets the bytes when they have come, or an error, the
cause of which is in ``failures``. Blocks; all methods may be called from any thread.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle.blobs.lazy import libfuse
from rekindle.exception import (
    BlobDamagedError,
    BlobError,
    BlobNotFoundError,
    BlobRoomError,
    BlobStoreError,
    SetupError,
)
from rekindle.linux import mounts
from rekindle.shown_url import without_password
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: How long a reader waits for what it touched before it gets an error.
WAIT_S = 60.0
_READY_S = 30.0
_ENDS_S = 10.0

_KINDS: dict[str, type[BlobError]] = {
    kind.__name__: kind
    for kind in (BlobNotFoundError, BlobDamagedError, BlobStoreError, BlobRoomError)
}


@dataclass(frozen=True)
class Settings:
    """Of a process that serves lazy files."""

    url: str  # of the store
    mountpoint: str  # made, and removed again
    folder: str  # what has arrived is kept here
    budget_bytes: int
    wait_s: float = WAIT_S


@dataclass(frozen=True)
class Opened:
    """A file that can be read."""

    path: Path
    size: int
    hinted: int  # chunks that are fetched before they are touched
    is_complete: bool


@dataclass(frozen=True)
class Touched:
    """What was read of a file: chunks in the order of the first touch; bytes over the wire."""

    chunks: list[int]
    received_bytes: int


class LazyFiles:
    """The files of one serving process."""

    def __init__(
        self, settings: Settings, process: subprocess.Popen[bytes], connection: socket.socket
    ) -> None:
        self.settings = settings
        self.mountpoint = Path(settings.mountpoint)
        #: Blob -> why it could not be read the last time that somebody tried.
        self.failures: dict[str, str] = {}
        #: Called with a blob, why it could not be read and the kind of error, in a thread of its
        #: own; the reader gets its error when this returns.
        self.on_failed: Callable[[str, str, str], None] = lambda _blob, _reason, _kind: None
        #: That the process is gone without having been told, in words; "" as long as it is not.
        self.ended = ""
        #: What it said last, where it was told to end by somebody else.
        self._told = ""
        self._process = process
        self._connection = connection
        self._ready: Future[None] = Future()
        self._answers: dict[int, Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._closing = False
        self._reader = threading.Thread(target=self._follow, name="lazy-files", daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, settings: Settings) -> LazyFiles:
        """Start the process and mount. Raises SetupError where this machine cannot."""
        library = libfuse.find()
        mountpoint = Path(settings.mountpoint)
        mountpoint.mkdir(parents=True, mode=0o700)
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "rekindle.blobs.lazy.server"),
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "FUSE_LIBRARY_PATH": library},
                start_new_session=True,
            )
        # Not as an argument: the URL may have a password, and lists of processes show arguments.
        ours.sendall(json.dumps(dataclasses.asdict(settings)).encode() + b"\n")
        files = cls(settings, process, ours)
        try:
            files._ready.result(timeout=_READY_S)
        except BaseException as error:
            files.close()
            if isinstance(error, TimeoutError):
                raise SetupError("the process that serves lazy files did not mount them") from None
            raise
        return files

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        return self._process.pid

    # ---- files ---------------------------------------------------------------------------------

    def open(self, blob: str, first: Iterable[int] | None = None) -> Path:
        """Show a blob as a file; ``first`` are chunks to fetch before they are touched.

        None: those that the store has a hint about. Raises BlobNotFoundError, BlobDamagedError,
        BlobStoreError, BlobRoomError where its budget has no room for it, BlobError.
        """
        return self.look(blob, first).path

    def look(self, blob: str, first: Iterable[int] | None = None) -> Opened:
        """As ``open``, with what is known of it."""
        self.failures.pop(blob, None)
        said = self._ask("open", blob=blob, first=None if first is None else list(first))
        return Opened(self.mountpoint / blob, said["size"], said["hinted"], said["complete"])

    def rest(self, blob: str) -> Future[dict[str, Any]]:
        """Have all of a file fetched, when nothing else is to be done.

        Done when it is here; fails with a BlobError where the store has lost or damaged a part, or
        the file is given up.
        """
        return self._order("rest", blob=blob)[1]

    def touched(self, blob: str) -> Touched:
        """What was read of a file so far. Raises BlobError."""
        answer = self._ask("touched", blob=blob)
        return Touched(answer["chunks"], answer["received_bytes"])

    def place(self, blob: str, target: Path) -> None:
        """Make a file that is here an ordinary one; who has it open or mapped keeps it.

        ``target`` is on the same file system as the folder. Raises BlobError.
        """
        self._ask("place", blob=blob, target=str(target))

    def give_up(self, blob: str) -> None:
        """Give a file up that is needed no longer: what has arrived may be removed once nobody has
        it open."""
        self._ask("give_up", blob=blob)

    def disk_bytes(self) -> int:
        """What has arrived takes of the disk."""
        return int(self._ask("usage")["disk_bytes"])

    # ---- the process ---------------------------------------------------------------------------

    def close(self) -> None:
        """End the process; files that are open then fail to be read."""
        self._closing = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reap()
        self._reader.join()
        self._connection.close()
        self._unmount()

    def _unmount(self) -> None:
        with suppress(OSError):  # the process that watches was quicker
            mounts.unmount(str(self.mountpoint))
        with suppress(OSError):
            self.mountpoint.rmdir()

    def _ask(self, what: str, **order: Any) -> dict[str, Any]:
        number, answer = self._order(what, **order)
        try:
            return answer.result()
        finally:
            self._answers.pop(number, None)

    def _order(self, what: str, **order: Any) -> tuple[int, Future[dict[str, Any]]]:
        number, answer = next(self._numbers), Future[dict[str, Any]]()
        data = json.dumps({"id": number, "do": what, **order}).encode() + b"\n"
        with self._lock:
            self._answers[number] = answer
            try:
                self._connection.sendall(data)
                gone = self._process.poll() is not None
            except OSError:
                gone = True
        if gone:
            self._reader.join()  # it may have said why
            if not answer.done():
                answer.set_exception(self._gone())
        return number, answer

    def _gone(self) -> BlobError:
        return BlobError(
            f"the process that serves lazy files from {without_password(self.settings.url)} has "
            f"ended{self._told}; what was not here yet can be read again when the agent starts "
            "again"
        )

    def _follow(self) -> None:
        try:
            with self._connection.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError) as error:
            log.info("no more messages of lazy files", extra=kv(reason=error))
        if not self._closing:
            self.ended = str(self._gone())
            log.error("lazy files ended", extra=kv(reason=self.ended))
        with self._lock:
            left: list[Future[Any]] = [self._ready, *self._answers.values()]
        for future in left:
            if not future.done():
                future.set_exception(self._gone())
        if not self._closing:
            self._reap()
            self._unmount()

    def _reap(self) -> None:
        try:
            self._process.wait(timeout=_ENDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _note(self, message: dict[str, Any]) -> None:
        try:
            self.on_failed(message["blob"], message["reason"], message["kind"])
        finally:
            with suppress(BlobError):  # it has ended meanwhile
                self._ask("noted", number=message["number"])

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            answer = self._answers.pop(message["id"], None)
            if answer is None or answer.done():
                return
            if "error" in message:
                answer.set_exception(_KINDS.get(message["kind"], BlobError)(message["error"]))
            else:
                answer.set_result(message)
        elif message["event"] == "ready":
            self._ready.set_result(None)
        elif message["event"] == "refused":
            self._ready.set_exception(SetupError(message["reason"]))
        elif message["event"] == "ended":
            self._told = f": {message['reason']}"
        elif message["event"] == "failed":
            self.failures[message["blob"]] = message["reason"]
            if "number" in message:
                threading.Thread(target=self._note, args=(message,), daemon=True).start()


def clean_up(mountpoint: Path) -> None:
    """Take away a mount whose processes were all killed at once; nothing where there is none."""
    with suppress(OSError):
        mounts.unmount(str(mountpoint))
    with suppress(OSError):
        mountpoint.rmdir()
