"""What an ephemeral object lives by: a connection that holds it. Standard library only."""

from __future__ import annotations

import os
import socket
import threading
import time

from rekindle.exception import ConnectionError, Error, NotFoundError, ServiceError
from rekindle.sdk import notes
from rekindle.sdk.objects.answers import receive
from rekindle.sdk.objects.direct import Gone
from rekindle.sdk.objects.link import Link
from rekindle.wire import object_frames as wire
from rekindle.wire.object_frames import Op, Request
from rekindle.wire.usercode import came_by_signal

#: Between two attempts; it doubles, up to the second, of which a controller waits for several.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
#: A controller that is away so long has others delete what nobody holds, once it is back.
_TELL_AFTER_S = 10.0


class Hold:
    """A connection that an ephemeral object lives by; a thread opens it again when it breaks."""

    def __init__(self, link: Link, object_id: str) -> None:
        self._link = link
        self._object_id = object_id.encode()
        self._ending = threading.Event()
        self._sock: socket.socket | None = None
        self.owner = os.getpid()

    def begin(self) -> None:
        """Hold it from now on; ``end`` follows, also where this is interrupted."""
        try:
            self._connect()
        except (OSError, Gone) as error:  # it is away: the thread goes on trying
            if came_by_signal(error):
                raise
        threading.Thread(target=self._keep, name="rekindle-hold", daemon=True).start()

    def _connect(self) -> None:
        sock = self._link.connected(os.urandom(wire.SESSION_BYTES))
        try:
            sock.sendall(Request(Op.HOLD).pack(self._object_id, 0, 1))
            wire.result_of(receive(sock))
        except BaseException:
            sock.close()
            raise
        self._sock = sock

    def _keep(self) -> None:
        try:
            self._hold()
        finally:
            if self._sock is not None:  # it was ended as it was just held again
                self._sock.close()

    def _hold(self) -> None:
        held_at, pause_s, told = time.monotonic(), _FIRST_PAUSE_S, False
        while not self._ending.is_set():
            sock = self._sock
            try:
                if sock is None:
                    self._connect()
                    pause_s, told = _FIRST_PAUSE_S, False
                elif not sock.recv(1):  # nothing is ever sent
                    raise Gone("it closed the connection")
            except NotFoundError:
                return  # it has gone
            except (OSError, Gone, Error) as error:
                if sock is not None:
                    sock.close()
                    held_at = time.monotonic()
                self._sock = None
                if self._ending.is_set() or not self._link.instance.exists():
                    return  # or it went with its instance
                passes = isinstance(error, (OSError, Gone, ConnectionError, ServiceError))
                if not told and (not passes or time.monotonic() - held_at > _TELL_AFTER_S):
                    told = True
                    notes.write_note(
                        f"{self._object_id.decode()} is not held, and may be deleted: {error}; "
                        f"it is tried again"
                    )
                self._ending.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def end(self) -> None:
        """Hold it no longer."""
        self._ending.set()
        sock = self._sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                if came_by_signal(error):
                    raise
