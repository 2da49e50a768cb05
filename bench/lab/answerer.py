"""A small process that measures when it is asked: a line there, a line back."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rekindle.exception import SetupError

_END_S = 30.0


@dataclass(frozen=True)
class Answerer:
    """It is asked one thing at a time."""

    name: str
    _process: subprocess.Popen[str]

    def ask(self, line: str) -> str:
        """The answer. Raises SetupError where the process has ended."""
        self.say(line)
        return self.answer()

    def say(self, line: str) -> None:
        """Ask; ``answer`` has what comes of it. Raises SetupError as ``ask``."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def answer(self) -> str:
        """Wait for it. Raises SetupError as ``ask``."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return line

    def _ended(self) -> SetupError:
        return SetupError(f"{self.name}: the process that measures it has ended")


@contextlib.contextmanager
def answerer(
    name: str, arguments: Sequence[str], *, before: Sequence[str] = ()
) -> Iterator[Answerer]:
    """Python with these arguments, for as long as it is needed. Raises SetupError.

    ``before``: a command that starts Python. The process says ``ready``, and ends with its input.
    """
    process = subprocess.Popen(
        [*before, sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        if process.stdout.readline().strip() != "ready":
            raise SetupError(f"{name} cannot be measured: its process did not start")
        yield Answerer(name, process)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
