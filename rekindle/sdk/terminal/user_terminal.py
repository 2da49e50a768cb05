"""The terminal that a program was started on, and a pseudo-terminal that stands for it elsewhere.

What is typed goes through as it is, so Ctrl-C, Ctrl-D and the line are the business of whoever has
the other end. Knows nothing of runners. Standard library only.
"""

from __future__ import annotations

import os
import sys
import termios
from contextlib import suppress

from rekindle.exception import InvalidError
from rekindle.linux.plain_descriptors import readable

#: Ctrl-\, which is the program's own: its way out where the other end does not listen.
LEAVE = b"\x1c"
#: What the other end wrote last is there within this (s), where somebody keeps that open.
_REST_S = 0.2
_IFLAG, _OFLAG, _LFLAG, _CC = 0, 1, 3, 6


class UserTerminal:
    """The terminal of this process."""

    def __init__(self) -> None:
        """Raises InvalidError where there is none."""
        try:
            name = os.ttyname(sys.__stdin__.fileno()) if sys.__stdin__ is not None else "/dev/tty"
        except (OSError, ValueError):  # a file, a pipe, or closed
            name = "/dev/tty"
        try:
            self.fd = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            raise InvalidError(
                "an interactive run needs a terminal, and this program has none: leave -i "
                "(interactive=) out, or start it on a terminal (ssh -t, docker run -it)"
            ) from None
        self._modes = termios.tcgetattr(self.fd)
        self._size = termios.tcgetwinsize(self.fd)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def open_copy(self) -> Copy:
        """A pseudo-terminal with the modes and the size of this one."""
        leader, follower = os.openpty()
        os.set_blocking(leader, False)
        termios.tcsetattr(follower, termios.TCSANOW, self._modes)
        termios.tcsetwinsize(leader, self.size())
        return Copy(leader, follower)

    def size(self) -> tuple[int, int]:
        """Rows and columns; the last that were known where it has hung up."""
        with suppress(termios.error):
            self._size = termios.tcgetwinsize(self.fd)
        return self._size

    def pass_through(self) -> None:
        """What is typed is read at once and as it is, and shown by who reads it."""
        self._modes = termios.tcgetattr(self.fd)
        modes = termios.tcgetattr(self.fd)
        modes[_IFLAG] &= ~(
            termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON
        )
        modes[_LFLAG] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
        modes[_CC] = [*modes[_CC]]
        modes[_CC][termios.VMIN], modes[_CC][termios.VTIME] = 1, 0
        termios.tcsetattr(self.fd, termios.TCSADRAIN, modes)

    def as_before(self) -> None:
        """As it was before ``pass_through``."""
        with suppress(termios.error):  # it has hung up
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._modes)

    def read(self) -> bytes:
        """What was typed; nothing: it has hung up."""
        try:
            return os.read(self.fd, 4096)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """Show what was written to a copy: newlines in it are as they are to be."""
        with suppress(OSError, termios.error):  # it has hung up, which a read says
            modes = termios.tcgetattr(self.fd)
            others = modes[_OFLAG]  # for what this program writes itself meanwhile
            modes[_OFLAG] &= ~termios.OPOST
            termios.tcsetattr(self.fd, termios.TCSANOW, modes)
            view = memoryview(data)
            while view:
                view = view[os.write(self.fd, view) :]
            modes[_OFLAG] = others
            termios.tcsetattr(self.fd, termios.TCSANOW, modes)


class Copy:
    """A pseudo-terminal: ``follower`` is for another process, and to be closed here then."""

    def __init__(self, leader: int, follower: int) -> None:
        self.leader = leader
        self.follower = follower
        self._size = termios.tcgetwinsize(leader)
        self._typed = b""  # and not taken yet

    def let_follower_go(self) -> None:
        """The other process has it."""
        os.close(self.follower)
        self.follower = -1

    def close(self) -> None:
        """The other end is hung up."""
        os.close(self.leader)
        if self.follower >= 0:
            self.let_follower_go()

    @property
    def is_full(self) -> bool:
        """Whether what was typed last has not been taken yet."""
        return bool(self._typed)

    def resize(self, size: tuple[int, int]) -> None:
        """The window has this size; the other end gets SIGWINCH where it changed."""
        if size != self._size:
            self._size = size
            termios.tcsetwinsize(self.leader, size)

    def type(self, data: bytes = b"") -> None:
        """Give what was typed to the other end, and before it what it has not taken yet."""
        self._typed += data
        with suppress(BlockingIOError):
            while self._typed:
                self._typed = self._typed[os.write(self.leader, self._typed) :]

    def read(self) -> bytes:
        """What the other end wrote; nothing: nobody has it any more."""
        try:
            return os.read(self.leader, 65536)
        except OSError:
            return b""

    def rest(self) -> bytes:
        """What the other end wrote before it let go."""
        data = b""
        while readable([self.leader], _REST_S) and (piece := self.read()):
            data += piece
        return data
