"""A signal's exception at each place: at those of what is run, and at no others."""

from __future__ import annotations

import gc

from rekindle.sdk import running
from tests.interrupts import at_all_places


def test_what_is_garbage_has_no_places() -> None:
    """Python drops what is raised in a generator that it closes as it collects it."""

    def leave() -> None:
        block = running.enable_output()
        block.__enter__()
        block.itself = block  # type: ignore[attr-defined]

    def act() -> list[list[int]]:
        running.asked_strategy()
        return [[number] for number in range(5000)]  # after a part of them garbage is collected

    gc.collect()
    places = at_all_places(act, lambda _: None, before=leave)
    assert {one.rpartition(" ")[2] for one in places} == {"asked_strategy"}
    assert running.shows_output()
    gc.collect()
    assert not running.shows_output()
