"""Phases of the GPU within the chain of marks that the runner is writing.

A runner says which chain it writes, and in which phase it is; work for the GPU that happens
meanwhile, also inside of a user's hook, is taken out of that phase. Standard library only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rekindle.wire.phases import Mark, Phase, now_ns

_chain: list[Mark] | None = None
_around: Phase | None = None
_notes: list[str] = []


@contextlib.contextmanager
def within(chain: list[Mark], around: Phase | None) -> Iterator[None]:
    """From here to the end, what ``phase`` measures goes into ``chain``.

    What comes before it is marked as ``around``, which the caller marks at the end; None marks
    nothing.
    """
    global _chain, _around
    _chain, _around = chain, around
    try:
        yield
    finally:
        _chain = None


@contextlib.contextmanager
def phase(which: Phase) -> Iterator[None]:
    """What happens inside is of this phase; no mark where no chain is being written."""
    chain = _chain
    if chain is not None and _around is not None:
        chain.append((_around.value, now_ns()))
    try:
        yield
    finally:
        if chain is not None:
            chain.append((which.value, now_ns()))


def note(text: str) -> None:
    """Something that the start's record is to say, such as the rate of a transfer."""
    if _chain is not None:
        _notes.append(text)


def take_notes() -> list[str]:
    """What was noted since the last time."""
    found = _notes.copy()
    _notes.clear()
    return found
