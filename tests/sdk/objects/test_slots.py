"""Where the request of a slot is, and when another request may have the slot."""

from __future__ import annotations

import itertools

import pytest

from rekindle.exception import InternalFailure
from rekindle.sdk.objects.slots import _MOVES, Slot, Slots, Where


def slot_that_is(where: Where) -> Slot:
    """By some way that leads there."""
    ways = {
        Where.FREE: [Where.FREE],
        Where.HERE: [],
        Where.LEFT: [Where.LEFT],
        Where.OWED: [Where.LEFT, Where.OWED],
    }
    slot = Slots().take()
    for step in ways.get(where, [where]):
        slot.move(step)
    return slot


@pytest.mark.parametrize(("was", "to"), list(itertools.product(Where, Where)))
def test_a_request_goes_where_it_may_and_nowhere_else(was: Where, to: Where) -> None:
    slot = slot_that_is(was)
    if to in _MOVES[was]:
        slot.move(to)
        assert slot.where is to
    else:
        with pytest.raises(InternalFailure, match="cannot go"):
            slot.move(to)
        assert slot.where is was


@pytest.mark.parametrize("was", [Where.HERE, Where.AT_REDIS, Where.AT_CONTROLLER, Where.LEFT])
def test_a_slot_that_was_answered_is_the_next_request_s_under_another_number(was: Where) -> None:
    slots = Slots()
    slot = slots.take()
    first = slot.number
    if was is not Where.HERE:
        slot.move(was)
    assert slots.take() is not slot
    slot.move(Where.FREE)
    assert slots.take() is slot and slot.number == first + 1


def test_a_slot_whose_answer_is_put_back_by_its_number_is_nobody_s_again() -> None:
    slots = Slots()
    slot = slots.take()
    for step in (Where.AT_REDIS, Where.LEFT, Where.OWED):
        slot.move(step)
    others = {slots.take().index for _ in range(3)}
    assert slot.index not in others and len(others) == 3


def test_what_was_answered_with_a_wait_is_asked_under_another_number() -> None:
    slot = slot_that_is(Where.AT_REDIS)
    first = slot.number
    slot.move(Where.HERE)
    assert slot.number == first + 1
