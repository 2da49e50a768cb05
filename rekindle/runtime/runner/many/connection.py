"""A client's connection: its calls, one at a time, and their answers.

Read without waiting, as others are served meanwhile. Knows nothing of how calls are run.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rekindle.runtime.runner.direct_server import pack_failure, pack_result
from rekindle.runtime.runner.many.run import Run, Stream
from rekindle.wire import direct_frames as wire
from rekindle.wire.direct_stream import ItemWriter
from rekindle.wire.frames import Header
from rekindle.wire.reuse import MemoryFiles
from rekindle.wire.serialization import unpickling_error
from rekindle.wire.shared import Packed, unpack


@dataclass(frozen=True)
class Reports:
    """Where a connection reports to."""

    what: Callable[[str], str]  # how errors name a method
    send: Callable[[Header], None]  # to the agent
    called: Callable[[Run, bool], None]  # a call has ended, and whether it failed
    ended: Callable[[Connection], None]


class Connection:
    """See the module."""

    def __init__(self, sock: socket.socket, slot: int, limit_bytes: int, reports: Reports) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self.slot = slot
        self._limit_bytes = limit_bytes
        self._reports = reports
        self._files = MemoryFiles()
        self._frame = bytearray()
        self._frame_fd = -1
        self._lock = threading.Lock()
        #: The call that is on.
        self.run: Run | None = None
        #: No other call comes.
        self.over = False

    def fileno(self) -> int:
        """What it is known by, also after its end."""
        return self._fd

    def is_running(self, *, then_over: bool) -> bool:
        """Whether a call is on; ``then_over``: no other comes, it ends with that one."""
        with self._lock:
            if self.run is not None and then_over:
                self.over = True
            return self.run is not None

    def read(self) -> wire.CallFrame | None:
        """The next call, once all of it has come; ``over`` is set at the end. Raises OSError."""
        try:
            piece, fd = wire.read_some(self._sock, wire.DONTWAIT)
        except BlockingIOError:
            return None
        if fd >= 0:
            self._frame_fd = fd
        if not piece:
            self.over = True
            return None
        frame = self._frame
        frame += piece
        size = wire.call_bytes(frame)
        if not size or len(frame) < size:
            return None
        fd, self._frame, self._frame_fd = self._frame_fd, bytearray(), -1
        call = wire.parse_call(frame, fd)
        if call.gone:
            self._files.came_back(call.gone)
        return call

    def unpack(self, call: wire.CallFrame) -> Any:
        """The arguments of a call."""
        fd, call.fd = call.fd, -1
        try:
            return unpack(call.data, fd, self._files)
        except BaseException as error:
            what = f"the arguments of {self._reports.what(call.method)}"
            raise unpickling_error(what, error) from error

    def stream(self, method: str) -> Stream:
        """Where the items of its call go, of a generator."""
        # No file is written again: how many of them the reader keeps, nobody can tell here.
        pack = partial(
            pack_result,
            what=f"an item of {self._reports.what(method)}",
            limit_bytes=self._limit_bytes,
            files=None,
        )
        return Stream(partial(ItemWriter, self._sock), pack)

    def answer(self, runs: list[Run]) -> None:
        """Answer the call that is on."""
        (run,) = runs
        status, packed = self._packed(run)
        self._reports.called(run, status != wire.OK)
        printed = run.prints.printed or run.called
        if printed:
            # Before the answer: the mark is on its way when the caller begins to wait for it.
            self._reports.send({"op": "mark", "call_id": run.call_id})
        with self._lock:
            # The next call may be here as soon as the answer is there.
            self.run = None
            times = (run.received_ns, run.loaded_ns, run.ended_ns)
            with contextlib.suppress(OSError):  # its client is gone
                gone = self._files.gone
                wire.send_reply(self._sock, status, times, packed, gone, printed=printed)
            over = self.over
        packed.close()
        if over:
            self._reports.ended(self)

    def _packed(self, run: Run) -> tuple[int, Packed]:
        value, run.value = run.value, None
        if run.failure is None:
            what = f"the result of {self._reports.what(run.method)}"
            try:
                return wire.OK, pack_result(value, what, self._limit_bytes, self._files)
            except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
                run.failure = error
        status = wire.CANCELLED if run.is_cancelled else wire.FAILED
        packed = pack_failure(
            run.failure,
            self._limit_bytes,
            None if run.stream is not None else self._files,  # as its items
        )
        # With it go the frames that hold the arguments: the answer says that they are gone.
        run.failure = None
        return status, packed

    def close(self) -> None:
        """Let go of all that it has."""
        self._files.close()
        if self._frame_fd >= 0:
            os.close(self._frame_fd)
        with contextlib.suppress(OSError):
            # The agent has a copy of this end: to close ours would say nothing to the client.
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
