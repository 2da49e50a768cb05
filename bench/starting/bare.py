"""The floor of a start: os.fork and exit of an empty Python process, asked for one by one.

Empty: an interpreter without site packages (``python -I -S``) that has imported a handful of
modules of the standard library. Exit: ``os._exit``; the time is from before the fork to after the
wait.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.answerer import Answerer, answerer

_PROGRAM = Path(__file__).with_name("fork_exit.py")


@dataclass(frozen=True)
class Took:
    """One fork, exit and wait."""

    ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Bare:
    """The process that forks."""

    _process: Answerer

    def one(self) -> Took:
        """One child."""
        found = self._ask("one")
        return Took(found["ms"], found["cpu_ms"])

    def at_once(self, count: int) -> list[float]:
        """Milliseconds to the end of each of ``count`` children that are forked in a row."""
        found: list[float] = self._ask(f"at-once {count}")["ms"]
        return found

    def begin_rate(self, seconds: float) -> None:
        """Have it fork for so long; ``rate`` has the answer."""
        self._process.say(f"rate {seconds}")

    def rate(self) -> float:
        """Children a second."""
        return float(json.loads(self._process.answer())["per_second"])

    def _ask(self, line: str) -> Any:
        return json.loads(self._process.ask(line))


@contextlib.contextmanager
def bare() -> Iterator[Bare]:
    """The process, for as long as it is needed."""
    with answerer("a bare fork", ["-I", "-S", str(_PROGRAM)]) as process:
        yield Bare(process)


def rate_on_cores(cores: int, seconds: float) -> float:
    """Children a second, with such a process on each of so many cores."""
    with contextlib.ExitStack() as stack:
        all_of_them = [stack.enter_context(bare()) for _ in range(cores)]
        for one in all_of_them:
            one.begin_rate(seconds)
        return sum(one.rate() for one in all_of_them)
