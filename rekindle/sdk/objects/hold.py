"""What an ephemeral object lives by: a connection that holds it. Standard library only."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

from rekindle.exception import Error, NotFoundError
from rekindle.sdk.objects.answers import receive
from rekindle.sdk.objects.direct import Gone
from rekindle.sdk.objects.link import Link
from rekindle.wire import object_frames as wire
from rekindle.wire.object_frames import Op, Request

_HOLD_AGAIN_S = 0.05


class Hold:
    """A connection that an ephemeral object lives by; a thread opens it again when it breaks."""

    def __init__(self, link: Link, object_id: str) -> None:
        self._link = link
        self._object_id = object_id.encode()
        self._ending = threading.Event()
        self._sock: socket.socket | None = None
        self.owner = os.getpid()
        with contextlib.suppress(OSError, Gone):  # it is away: the thread goes on trying
            self._connect()
        threading.Thread(target=self._run, name="rekindle-hold", daemon=True).start()

    def _connect(self) -> None:
        sock = self._link.connected(os.urandom(wire.SESSION_BYTES))
        try:
            sock.sendall(Request(Op.HOLD).pack(self._object_id, 0, 1))
            wire.result_of(receive(sock))
        except BaseException:
            sock.close()
            raise
        self._sock = sock

    def _run(self) -> None:
        while not self._ending.is_set():
            sock = self._sock
            try:
                if sock is None:
                    self._connect()
                elif not sock.recv(1):  # nothing is ever sent
                    sock.close()
                    self._sock = None
            except NotFoundError:
                return  # it has gone
            except (OSError, Gone, Error):
                self._sock = None
                self._ending.wait(_HOLD_AGAIN_S)

    def end(self) -> None:
        """Hold it no longer."""
        self._ending.set()
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
