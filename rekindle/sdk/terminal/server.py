"""Lends the terminal of a program to the runners of its app, to one after the other.

A runner connects to a socket of the app and asks; its turn begins when it is sent the end of a
pseudo-terminal, and is over when its connection is, whatever became of it. Output of other runners
is shown after the turn. A thread of its own does all of it.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rekindle import paths
from rekindle.sdk import notes, progress
from rekindle.sdk.connection.background import background
from rekindle.sdk.terminal.user_terminal import LEAVE, Copy, UserTerminal
from rekindle.wire.frames import FrameError, FrameSocket, Header

if TYPE_CHECKING:
    from rekindle.sdk.logs import LogPrinter

#: Who has connected says so at once.
_ASK_S = 2.0
#: So often the size of the window is looked at (a handler of SIGWINCH would be the program's).
_LOOK_S = 0.25


class _Asking:
    """A runner that has asked."""

    def __init__(self, sock: socket.socket) -> None:
        """Raises FrameError, OSError or ValueError for one that does not ask."""
        self.channel = FrameSocket(sock)
        sock.settimeout(_ASK_S)
        self._said, _body, _fds = self.channel.receive()
        sock.settimeout(None)
        self.copy: Copy | None = None

    def __str__(self) -> str:
        said = self._said
        what = said.get("input") or said.get("runner") or "a runner"
        return f"{said.get('by')} in {said.get('function')} ({what})"

    @property
    def mark(self) -> str:
        """What follows all that it printed before it asked; "" for nothing."""
        return str(self._said.get("mark", ""))

    def hear(self) -> Header | None:
        """What it says; None: it is gone."""
        try:
            return self.channel.receive()[0]
        except (FrameError, OSError, ValueError):
            return None


class TerminalServer:
    """The terminal of this program, for the runners of one app."""

    def __init__(
        self, terminal: UserTerminal, instance: Path, app_id: str, logs: LogPrinter | None
    ) -> None:
        """Raises SetupError, OSError."""
        self._terminal = terminal
        self._logs = logs
        self._path = paths.fitting_socket(paths.terminal_socket(instance, app_id))
        _sweep(instance)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        os.chmod(self._path, 0o600)
        self._listener.listen(64)
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC)
        self._waiting: deque[_Asking] = deque()
        self._turn: _Asking | None = None
        self._selector = selectors.DefaultSelector()
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._serve, name="rekindle-terminal", daemon=True)

    def start(self) -> None:
        """Lend it from now on."""
        self._thread.start()

    def close(self) -> None:
        """Lend it no more: who has it is at the end of its input. The terminal is as before."""
        if os.getpid() != self._owner:
            return
        with suppress(OSError):  # closed already
            os.close(self._stop_write)
        self._stop_write = -1
        self._thread.join()

    # ---- the thread

    def _serve(self) -> None:
        selector = self._selector
        selector.register(self._listener, selectors.EVENT_READ, self._accept)
        selector.register(self._stop_read, selectors.EVENT_READ, None)
        try:
            while True:
                for key, _ in selector.select(_LOOK_S if self._turn else None):
                    if key.data is None:
                        return
                    if key.fd in selector.get_map():  # not taken out by one before it
                        key.data()
                if self._turn is not None and (copy := self._turn.copy) is not None:
                    copy.resize(self._terminal.size())
                    copy.type()  # what the runner has not taken yet
                while self._turn is None and self._waiting:
                    self._begin(self._waiting.popleft())
        finally:
            self._end("")
            for asking in self._waiting:
                asking.channel.close()
            selector.close()
            self._listener.close()
            self._path.unlink(missing_ok=True)
            os.close(self._stop_read)
            self._terminal.close()

    def _accept(self) -> None:
        sock, _address = self._listener.accept()
        try:
            asking = _Asking(sock)
        except (FrameError, OSError, ValueError):
            sock.close()
            return
        self._selector.register(
            asking.channel.fileno(), selectors.EVENT_READ, lambda: self._heard(asking)
        )
        self._waiting.append(asking)
        if self._turn is not None:
            notes.on_terminal(f"\r{asking} waits for the terminal, which {self._turn} has.")

    def _heard(self, asking: _Asking) -> None:
        said = asking.hear()
        if asking is self._turn:
            self._end("" if said else "The runner that had the terminal has ended.")
            return
        self._waiting.remove(asking)
        self._selector.unregister(asking.channel.fileno())
        asking.channel.close()

    def _begin(self, asking: _Asking) -> None:
        """Its turn: after what it printed, and before anything that others print."""
        if self._logs is not None:
            if asking.mark:
                background().run(self._logs.marked(asking.mark))
            background().run(self._logs.hold(True))
        if progress.on_lent is not None:
            progress.on_lent(True)
        notes.on_terminal(f"{asking} has the terminal until it ends; Ctrl-\\ stops the program.")
        self._turn = asking
        asking.copy = copy = self._terminal.open_copy()
        try:
            order = {"op": "granted", "term": os.environ.get("TERM", "dumb")}
            asking.channel.send_with_fds(order, [copy.follower])
        except OSError:
            self._end("")
            return
        copy.let_follower_go()
        self._terminal.pass_through()
        self._selector.register(self._terminal.fd, selectors.EVENT_READ, self._typed)
        self._selector.register(copy.leader, selectors.EVENT_READ, self._written)

    def _typed(self) -> None:
        assert self._turn is not None and self._turn.copy is not None
        data = self._terminal.read()
        if not data or LEAVE in data:
            self._end("")
            # To the main thread: as Ctrl-C where no runner has the terminal.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return
        self._turn.copy.type(data)

    def _written(self) -> None:
        assert self._turn is not None and self._turn.copy is not None
        copy = self._turn.copy
        if data := copy.read():
            self._terminal.write(data)
        else:  # its connection says when its turn is over
            self._selector.unregister(copy.leader)

    def _end(self, note: str) -> None:
        """The turn is over, and the terminal as before it."""
        turn, self._turn = self._turn, None
        if turn is None:
            return
        copy, known = turn.copy, self._selector.get_map()
        for fd in (turn.channel.fileno(), self._terminal.fd, copy.leader if copy else -1):
            if fd in known:
                self._selector.unregister(fd)
        if copy is not None:
            if rest := copy.rest():
                self._terminal.write(rest)
            copy.close()
            self._terminal.as_before()
        if progress.on_lent is not None:
            progress.on_lent(False)
        if self._logs is not None:
            background().run(self._logs.hold(False))
        turn.channel.close()  # its runner goes on: what it answers is shown after all of that
        if note:
            notes.on_terminal(note)


def _sweep(instance: Path) -> None:
    """Remove the sockets of programs that were killed."""
    for path in instance.glob("*.tty"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:  # another takes it away just now
                continue
