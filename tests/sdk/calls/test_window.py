"""The room for the inputs of a map: who waits for it is woken, whenever it comes."""

from __future__ import annotations

from threading import Event

from rekindle.sdk.calls import window
from rekindle.sdk.calls.window import Window


class ComesMeanwhile(Event):
    """A signal as room comes just before it is waited for."""

    of: Window

    def clear(self) -> None:
        self.of.give_back(0, window.MAX_OUTSTANDING)
        super().clear()


def test_room_that_comes_before_it_is_waited_for_is_seen() -> None:
    signal = ComesMeanwhile()
    signal.of = room = Window(signal)
    for _ in range(window.MAX_OUTSTANDING):
        room.take(0)
    assert not room.full()


def test_one_input_always_has_room_however_large_it_is() -> None:
    room = Window(Event())
    assert not room.full()
    room.take(window.MAX_OUTSTANDING_BYTES)
    assert room.full()
    room.give_back(window.MAX_OUTSTANDING_BYTES)
    assert not room.full()
