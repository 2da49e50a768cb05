"""A signal's exception at each place of an ephemeral object's block: nothing holds it any more."""

from __future__ import annotations

import threading

import pytest

from rekindle import Dict
from rekindle.sdk.objects.handle import Ephemeral
from tests.e2e.harness import wait_until
from tests.interrupts import at_all_places


def _holding() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name == "rekindle-hold"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_an_interrupt_as_it_is_entered_leaves_no_thread_that_holds_it(
    error: type[BaseException],
) -> None:
    entered: list[Dict] = []
    blocks: list[Ephemeral[Dict]] = []
    others = _holding()  # of tests before

    def enter() -> None:
        blocks.append(block := Dict.ephemeral())
        with block as made:
            entered.append(made)

    enter()

    def look(at: str) -> None:
        if entered:  # it was interrupted as it was left: nothing stays for later tests
            blocks[-1].__exit__(None, None, None)
        blocks.clear()
        wait_until(lambda: _holding() <= others, f"the thread to end at {at}")

    files = {"hold.py", "handle.py", "link.py"}
    places = at_all_places(enter, look, before=entered.clear, error=error, within=files)
    assert {one.partition(":")[0] for one in places} == files
