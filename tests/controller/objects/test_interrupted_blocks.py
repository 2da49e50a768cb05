"""A signal's exception at each place of an ephemeral object's block: nothing holds it any more."""

from __future__ import annotations

import threading

import pytest

from rekindle import Dict
from tests.e2e.harness import wait_until
from tests.interrupts import at_all_places


def _holding() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "rekindle-hold"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_an_interrupt_as_it_is_entered_leaves_no_thread_that_holds_it(
    error: type[BaseException],
) -> None:
    entered: list[Dict] = []
    others: list[str] = []

    def begin() -> None:
        entered.clear()
        others[:] = _holding()  # of those that were interrupted as they were left

    def enter() -> None:
        with Dict.ephemeral() as made:
            entered.append(made)

    enter()

    def look(at: str) -> None:
        if not entered:
            wait_until(lambda: _holding() <= others, f"the thread to end at {at}")

    files = {"hold.py", "handle.py", "link.py"}
    places = at_all_places(enter, look, before=begin, error=error, within=files)
    assert {one.partition(":")[0] for one in places} == files
