"""A signal's exception at each place of our code where Python lets a handler run."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Collection, Iterator

import pytest

from tests.interrupts.interrupt import Interrupt

#: Places after which what they have left is collected.
_COLLECTED_EVERY = 100


def _at(place: int, error: type[BaseException], within: Collection[str]) -> Interrupt:
    if sys.version_info[:2] == (3, 11):
        from tests.interrupts.traced import Traced

        return Traced(place, error, within)
    if sys.version_info[:2] in ((3, 12), (3, 13)):
        from tests.interrupts.monitored import Monitored

        return Monitored(place, error, within)
    pytest.skip("it is known of Python 3.11 to 3.13 where they let a handler run")


def _apart(act: Callable[[], object]) -> Iterator[object]:
    """In a generator, which has a state of exceptions of its own: Python takes what is raised by
    tracing for one of the next instruction, where a handler's exception is of the call before it,
    and so may leave the exception there that is just handled."""
    yield act()


def at_all_places(
    act: Callable[[], object],
    look: Callable[[str], object],
    *,
    before: Callable[[], object] = lambda: None,
    error: type[BaseException] = KeyboardInterrupt,
    step: int = 1,
    within: Collection[str] = (),
) -> set[str]:
    """Interrupt ``act`` at each place, or each ``step``-th, and ``look`` what is then; which
    places. Where what is loaded late is to be there, ``act`` has run before. ``within``: the names
    of the files that count; all without."""
    places: set[str] = set()
    for place in range(1, 100_000, step):
        if place // step % _COLLECTED_EVERY == 0:
            gc.collect()
        before()
        cut = _at(place, error, within)
        try:
            with cut:
                next(_apart(act))
        except error:
            places.add(cut.at)
        else:
            assert not cut.at, f"what the handler raised at {cut.at} did not come out"
            return places
        assert sys.exc_info() == (None, None, None), cut.at
        look(cut.at)
    raise AssertionError("it does not end")
