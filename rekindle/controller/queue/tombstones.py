"""Keeps what was completed from being taken up again by who read about it before.

A reader asks Redis what is undone, and by the time that it acts on the answer, an input of it may
have been taken up by another, run, completed and dropped from memory. To the reader it then looks
like one that no one has. So whoever reads holds a pass while it does, and what is completed
meanwhile is remembered until all passes that are older have been given back.

Knows nothing of inputs: it knows names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Tombstones:
    """The names that were completed while someone reads."""

    def __init__(self) -> None:
        self._turn = 0
        self._readers: dict[int, None] = {}  # turns at which readers began, oldest first
        self._gone: dict[str, int] = {}  # name -> turn of its completion, oldest first

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold this from before the question until the answer was acted on."""
        self._turn += 1
        turn = self._turn
        self._readers[turn] = None
        try:
            yield
        finally:
            del self._readers[turn]
            self._forget()

    def completed(self, name: str) -> None:
        """A name is done with."""
        if self._readers:
            self._turn += 1
            self._gone[name] = self._turn

    def is_gone(self, name: str) -> bool:
        """Whether a reader that holds its pass must leave the name alone."""
        return name in self._gone

    def _forget(self) -> None:
        oldest = next(iter(self._readers), self._turn + 1)
        while self._gone:
            name, turn = next(iter(self._gone.items()))
            if turn > oldest:
                return
            del self._gone[name]
