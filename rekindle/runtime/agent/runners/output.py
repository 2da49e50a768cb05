"""Standard output and error of a runner: lines, as they are written, those read at once together.

Each reading costs the agent, the controller and who follows a message. A runner that writes line
after line is therefore read now and then only (``_PAUSE_S``), as soon as it has been read often.
One that writes more than goes on to the controller is not read meanwhile: it waits for its pipe.
"""

from __future__ import annotations

import asyncio
import codecs
import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from rekindle.exception import StartError
from rekindle.linux.plain_descriptors import close_all
from rekindle.runtime.agent import readers
from rekindle.wire import lines as chunks
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.page import RunnerPage
from rekindle.wire.phases import now_ns

_CHUNK_BYTES = 1 << 16
#: A pipe that has been read so often within that time ...
_OFTEN, _WITHIN_S = 16, 0.05
#: ... is not looked at for so long, unless there is much each time.
_PAUSE_S = 0.01
#: A line longer than this is passed on in pieces.
MAX_LINE_BYTES = 1 << 16
#: A line with a carriage return is a progress bar, which is passed on so often as it grows.
_BAR_S = 0.1
#: What is kept of what a process prints before it reports, for where it never does.
_KEPT_LINES, _KEPT_CHARACTERS = 8, 400


class Output:
    """Two pipes. ``write_fds`` go to the process; lines come to ``on_line``, which knows whose."""

    def __init__(self, on_line: Callable[[pb.LogLine], None]) -> None:
        """Raises StartError where no more descriptors are to be had."""
        self._on_line = on_line
        #: Where to say what was taken, once its runner has one.
        self.page: RunnerPage | None = None
        #: Whether to leave in the pipes what is there, as what came before it waits still.
        self.held_up: Callable[[], bool] = bool
        #: Lines that came, ever.
        self.lines = 0
        self._kept: deque[str] | None = None
        self._pending: dict[int, bytes] = {}
        self._streams: dict[int, str] = {}
        self._bars: dict[int, asyncio.TimerHandle] = {}
        self._pauses: dict[int, asyncio.TimerHandle] = {}
        self._window_ends = 0.0
        self._readings = 0  # in this window
        self._readers = readers.here()
        self.write_fds: tuple[int, int] = (-1, -1)
        try:
            self.write_fds = (self._open("stdout"), -1)
            self.write_fds = (self.write_fds[0], self._open("stderr"))
        except OSError as error:
            self.close()  # the first is there, and there is no room for the second
            raise StartError(f"no pipes for a new process: {error}") from error

    def _open(self, stream: str) -> int:
        """The writing end. Raises OSError."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read_fd, False)
        try:
            self._readers.add(read_fd, partial(self._readable, read_fd))
        except OSError:
            close_all([read_fd, write_fd])
            raise
        self._streams[read_fd] = stream
        self._pending[read_fd] = b""
        return write_fd

    @property
    def is_handed_over(self) -> bool:
        """Whether the process has its copies of the write ends."""
        return self.write_fds[0] < 0

    def redirect(self, on_line: Callable[[pb.LogLine], None]) -> None:
        """Give lines to another from now on."""
        self._on_line = on_line

    def handed_over(self) -> None:
        """The process has its copies of the write ends; close ours."""
        for fd in self.write_fds:
            os.close(fd)
        self.write_fds = (-1, -1)

    def keep_last(self, *, on: bool) -> None:
        """Keep the last lines from now on, or keep none any more."""
        self._kept = deque(maxlen=_KEPT_LINES) if on else None

    def said_last(self) -> str:
        """The last lines that were kept, for an error; "" if there are none."""
        return "".join(f"\n    {line}" for line in self._kept or ())

    def drain(self, *, runs_on: bool = False) -> None:
        """Take in all that was written up to now, an unfinished last line included.

        Unless its process ``runs_on``: it may be in the middle of that line.
        """
        for fd in list(self._streams):
            self._read(fd)
        if runs_on:
            return
        for fd in list(self._streams):
            self._flush_partial(fd)

    def close(self) -> None:
        """Drain and close."""
        self.drain()
        self.page = None
        for fd in list(self._streams):
            self._close_one(fd)
        for fd in self.write_fds:
            if fd >= 0:
                os.close(fd)
        self.write_fds = (-1, -1)

    def _readable(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        if self.held_up():
            self._pause(fd, loop)
            return
        taken = self._read(fd, may_wait=True)
        if fd not in self._streams or taken > chunks.MOST_BYTES:
            return  # it was the end, or so much that a pause would hold its process up
        now = loop.time()
        if now > self._window_ends:
            self._window_ends, self._readings = now + _WITHIN_S, 0
        self._readings += 1
        if self._readings > _OFTEN:
            self._window_ends = now + _WITHIN_S  # as long as it goes on
            self._pause(fd, loop)

    def _pause(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        self._readers.remove(fd)
        self._pauses[fd] = loop.call_later(_PAUSE_S, self._listen, fd)

    def _listen(self, fd: int) -> None:
        del self._pauses[fd]
        self._readers.add(fd, partial(self._readable, fd))

    def _read(self, fd: int, *, may_wait: bool = False) -> int:
        """How many bytes it was. ``may_wait``: nobody waits for the rest."""
        page = self.page
        if page is None:
            return self._take(fd, may_wait)
        page.draining(True)
        taken = self._take(fd, may_wait)
        page.drained(taken)
        page.draining(False)
        return taken

    def _take(self, fd: int, may_wait: bool) -> int:
        """Read what is there; how many bytes it was."""
        taken = 0
        # Bounded, so that a process that prints without end does not stop the agent.
        for _ in range(64):
            try:
                data = os.read(fd, _CHUNK_BYTES)
            except BlockingIOError:
                return taken
            if not data:
                self._flush_partial(fd)
                self._close_one(fd)
                return taken
            taken += len(data)
            self._split(fd, data)
            if may_wait and self.held_up():
                break
        return taken

    def _split(self, fd: int, data: bytes) -> None:
        *lines, rest = (self._pending[fd] + data).split(b"\n")
        for chunk in _chunks(lines):
            self._emit(fd, chunk, partial=False)
        if len(rest) > MAX_LINE_BYTES:
            self._emit(fd, rest, partial=True)
            rest = b""
        self._pending[fd] = rest
        if b"\r" in rest and fd not in self._bars:
            loop = asyncio.get_running_loop()
            self._bars[fd] = loop.call_later(_BAR_S, self._pass_bar_on, fd)

    def _pass_bar_on(self, fd: int) -> None:
        del self._bars[fd]
        data = self._pending[fd]
        _, whole = codecs.utf_8_decode(data, "replace", False)  # its last character may not be
        self._pending[fd] = data[:whole]
        self._flush_partial(fd)
        self._pending[fd] = data[whole:]

    def _flush_partial(self, fd: int) -> None:
        if self._pending.get(fd):
            self._emit(fd, self._pending[fd], partial=True)
            self._pending[fd] = b""

    def _emit(self, fd: int, data: bytes, *, partial: bool) -> None:
        text = data.decode("utf-8", "replace")
        self.lines += text.count("\n") + 1
        stream = self._streams[fd]
        if self._kept is not None:
            for line in text.split("\n"):
                if line.strip():
                    self._kept.append(line.rstrip()[:_KEPT_CHARACTERS])
        self._on_line(pb.LogLine(stream=stream, text=text, partial=partial, at_ns=now_ns()))

    def _close_one(self, fd: int) -> None:
        if fd in self._streams:
            self._readers.remove(fd)
            os.close(fd)
            if (bar := self._bars.pop(fd, None)) is not None:
                bar.cancel()
            if (pause := self._pauses.pop(fd, None)) is not None:
                pause.cancel()
            del self._streams[fd], self._pending[fd]


def _chunks(lines: list[bytes]) -> Iterator[bytes]:
    """The lines in groups that travel together, joined."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and (len(group) == chunks.MOST_LINES or size + len(line) > chunks.MOST_BYTES):
            yield b"\n".join(group)
            group, size = [], 0
        group.append(line)
        size += len(line)
    if group:
        yield b"\n".join(group)
