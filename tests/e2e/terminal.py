"""A program on a terminal of its own (a pseudo-terminal), and what is to be seen on it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rekindle.linux.plain_descriptors import readable
from tests.e2e.harness import COMMAND, PATIENCE_S, Home

_TOKEN = re.compile(r"\x1b\[(\d*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


def seen(text: str) -> list[str]:
    """The lines of a terminal that got ``text``: what was erased or overwritten is not there."""
    lines, row, column = [""], 0, 0
    for token in _TOKEN.finditer(text):
        what = token[0]
        if what == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif what == "\r":
            column = 0
        elif token[2] == "K":
            lines[row] = ""
        elif token[2] == "A":
            row -= int(token[1] or 1)
        elif token[2] is None:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + what + line[column + len(what) :]
            column += len(what)
    return [line.rstrip() for line in lines]


class Terminal:
    """The command line, with its input and both outputs on one terminal."""

    def __init__(
        self, home: Home, argv: Sequence[str | Path], *, out: int | None = None, **environ: str
    ) -> None:
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [COMMAND, *(str(word) for word in argv)],
            cwd=home.scripts,
            env={**home.environ, "TERM": "xterm", **environ},
            stdin=follower,
            stdout=follower if out is None else out,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        self._data = b""

    @property
    def text(self) -> str:
        """All that was written to it so far."""
        return self._data.decode(errors="replace")

    def until(self, done: Callable[[str], bool]) -> None:
        """Read until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not done(self.text):
            left_s = max(0.0, deadline - time.monotonic())
            ready = readable([self.leader], left_s)
            assert ready, f"did not come to be: {self.text!r}"
            assert self._read(), f"ended before: {self.text!r}"

    def _read(self) -> bool:
        try:
            data = os.read(self.leader, 65536)
        except OSError:  # EIO: nobody has the other end any more
            data = b""
        self._data += data
        return bool(data)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.leader, text.encode())

    def end(self) -> int:
        """Read to its end; its status."""
        while self._read():
            pass
        os.close(self.leader)
        return self.process.wait(PATIENCE_S)
