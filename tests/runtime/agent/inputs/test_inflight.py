"""Inputs that a node has, and results that were not confirmed: none doubled, none forgotten."""

from __future__ import annotations

import pytest

from rekindle.exception import InternalFailure
from rekindle.runtime.agent.inputs import inflight
from rekindle.runtime.agent.inputs.assignment import AssignmentState, Order
from rekindle.runtime.agent.inputs.inflight import InFlight
from rekindle.wire import rekindle_pb2 as pb


def order(call_id: str = "fc-1", delivery: int = 1) -> Order:
    return Order(call_id, "fu-1", "ap-1", b"", None, 0, 0, delivery)


def inputs(*indexes: int) -> list[pb.Input]:
    return [pb.Input(index=index, payload=b"p") for index in indexes]


def test_an_input_that_is_assigned_again_runs_once() -> None:
    held = InFlight()
    assert [one.index for one in held.add(order(), inputs(1, 2))] == [1, 2]
    assert [one.index for one in held.add(order(), inputs(2, 3))] == [3]
    assert (held.inputs, held.running) == (3, 3)


def test_a_retry_runs_although_the_first_result_was_not_confirmed_yet() -> None:
    held = InFlight()
    (first,) = held.add(order(), inputs(1))
    assert held.settle(first, pb.FAILURE, b"failed")
    assert held.add(order(), inputs(1)) == []
    (second,) = held.add(order(delivery=2), inputs(1))
    assert first.state is AssignmentState.GIVEN_UP and (held.inputs, held.unconfirmed) == (1, 0)
    held.confirm("fc-1", [1])  # that of the first
    assert second.state is AssignmentState.WAITING
    assert held.settle(second, pb.SUCCESS, b"value")
    held.confirm("fc-1", [1])
    assert (held.inputs, held.unconfirmed, held.unconfirmed_bytes, held.calls) == (0, 0, 0, {})


def test_the_first_result_of_an_input_stays() -> None:
    held = InFlight()
    (one,) = held.add(order(), inputs(1))
    assert held.settle(one, pb.SUCCESS, b"first")
    assert not held.settle(one, pb.SUCCESS, b"second")
    held.give_up(one)
    held.give_up(one)
    assert not held.settle(one, pb.SUCCESS, b"third")
    with pytest.raises(InternalFailure):
        one.move(AssignmentState.WAITING)


def test_it_is_full_by_number_or_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflight, "MAX_UNCONFIRMED", 3)
    monkeypatch.setattr(inflight, "MAX_UNCONFIRMED_BYTES", 100)
    held = InFlight()
    one, two, three = held.add(order(), inputs(1, 2, 3))
    held.settle(one, pb.SUCCESS, bytes(99))
    assert not held.full
    held.settle(two, pb.SUCCESS, bytes(1))
    assert held.full
    held.confirm("fc-1", [1])
    assert not held.full
    held.settle(three, pb.SUCCESS, b"")
    held.settle(*held.add(order("fc-2"), inputs(9)), pb.SUCCESS, b"")
    assert held.full


def test_a_new_connection_is_told_of_every_input_and_every_unconfirmed_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inflight, "_MESSAGE_BYTES", 10)
    held = InFlight()
    for one in held.add(order(), inputs(1, 2, 3, 4)):
        if one.index != 3:
            held.settle(one, pb.SUCCESS, b"%d" % one.index * 6)
    held.add(order("fc-2"), inputs(7))
    said = {one.call_id: list(one.indexes) for one in held.hello()}
    assert said == {"fc-1": [1, 2, 3, 4], "fc-2": [7]}
    messages = list(held.unconfirmed_results())
    assert [list(message.indexes) for message in messages] == [[1, 2], [4]]
    assert list(messages[0].results) == [b"111111", b"222222"]
    assert {message.function_id for message in messages} == {"fu-1"}


def test_a_call_has_more_to_come_until_its_last_input_here_is_done_or_given_up() -> None:
    held = InFlight()
    first, second = held.add(order(), inputs(1, 2))
    (other,) = held.add(order("fc-2"), inputs(1))
    held.settle(first, pb.SUCCESS, b"")
    assert held.has_undone("fc-1")
    held.give_up(second)
    assert not held.has_undone("fc-1") and held.has_undone("fc-2")
    held.give_up(first)  # its result does not count twice
    (again,) = held.add(order(), inputs(3))
    assert held.has_undone("fc-1")
    held.settle(again, pb.SUCCESS, b"")
    held.settle(other, pb.SUCCESS, b"")
    assert not held.has_undone("fc-1") and not held.has_undone("fc-2")
