"""What goes back of a call that fails, by where it was then."""

from __future__ import annotations

import pytest

from rekindle.exception import ConnectionError, DeserializationError
from rekindle.sdk.objects.giving_back import Owed, returning
from rekindle.sdk.objects.taking import Taking
from rekindle.wire.object_frames import Op, Reply, Request, Status

GET = Request(Op.QUEUE_GET, partition=b"p", quantity=3)
ITEMS = [b"a", b"b", b"c"]
CAME = Reply(Status.DONE, b"", ITEMS)
OBJECT, SESSION = b"qu-a", b"s" * 16


class Given:
    """What was said to be put back."""

    def __init__(self) -> None:
        self.all: list[Owed] = []

    def give_back(self, owed: Owed, error: BaseException, *, blocks: bool) -> None:
        self.all.append(owed)


@pytest.fixture
def given() -> Given:
    return Given()


def asked(request: Request, number: int) -> Owed:
    return Owed(OBJECT, SESSION, number, returning(request, 0))


def back(items: list[bytes]) -> Request:
    return Request(Op.QUEUE_RETURN, partition=b"p", parts=items)


def failed(taking: Taking, given: Given, error: BaseException) -> list[Owed]:
    taking.fails(error, blocks=False)
    return given.all


def test_of_a_call_that_asked_for_nothing_nothing_goes_back(given: Given) -> None:
    assert not failed(Taking(), given, KeyboardInterrupt())


def test_a_get_that_was_sent_goes_back_by_its_number(given: Given) -> None:
    taking = Taking()
    taking.asks(asked(GET, 7), given)
    assert failed(taking, given, ConnectionError("away")) == [asked(GET, 7)]


def test_a_get_that_found_nothing_does_not(given: Given) -> None:
    taking = Taking()
    taking.asks(asked(GET, 7), given)
    taking.answered(OBJECT, GET, Reply(Status.EMPTY, b""))
    assert not failed(taking, given, KeyboardInterrupt())


def test_items_that_have_come_go_back_as_they_are_under_a_session_of_their_own(
    given: Given,
) -> None:
    taking = Taking()
    taking.asks(asked(GET, 7), given)
    taking.answered(OBJECT, GET, CAME)
    (one,) = failed(taking, given, KeyboardInterrupt())
    assert one.back == back(ITEMS) and one.session != SESSION and one.number == 1


def test_what_cannot_be_unpickled_is_taken_out(given: Given) -> None:
    taking = Taking()
    taking.asks(asked(GET, 7), given)
    taking.answered(OBJECT, GET, CAME)
    assert not failed(taking, given, DeserializationError("not here"))


def test_of_items_of_which_some_are_being_put_back_each_goes_back_once(given: Given) -> None:
    taking = Taking()
    taking.asks(asked(GET, 7), given)
    taking.answered(OBJECT, GET, CAME)
    for _ in range(2):  # sent again
        taking.asks(asked(back(ITEMS[1:]), 8), given)
    first, second = failed(taking, given, KeyboardInterrupt())
    assert first == asked(back(ITEMS[1:]), 8) and second.back == back(ITEMS[:1])


@pytest.mark.parametrize("answered", [False, True])
def test_items_that_are_back_do_not_go_back_with_the_rest(given: Given, answered: bool) -> None:
    taking = Taking()
    taking.asks(asked(GET, 7), given)
    taking.answered(OBJECT, GET, CAME)
    request = back(ITEMS[1:])
    taking.asks(asked(request, 8), given)
    if answered:
        taking.answered(OBJECT, request, Reply(Status.DONE, b"1"))
    else:  # it is done in the background
        taking.is_left()
    (one,) = failed(taking, given, KeyboardInterrupt())
    assert one.back == back(ITEMS[:1])
