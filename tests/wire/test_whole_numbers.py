"""Whole numbers of variables: what is none, or too many, is refused in words."""

from __future__ import annotations

import pytest

from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import whole_numbers


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("007", 7), ("0" * 5000, 0)])
def test_a_number_is_what_its_digits_say(text: str, number: int) -> None:
    assert whole_numbers.said("N", "a number", environ={"N": text}) == number


def test_what_is_not_set_or_empty_says_nothing() -> None:
    assert whole_numbers.said("N", "a number", environ={}) is None
    assert whole_numbers.said("N", "a number", environ={"N": ""}) is None


def test_the_greatest_one_travels() -> None:
    most = whole_numbers.said("N", "a number", environ={"N": str(whole_numbers.MOST)})
    assert pb.LogsRequest(since_ns=most).since_ns == whole_numbers.MOST


@pytest.mark.parametrize(
    "text", [" ", "x", "-1", "+1", "1.5", "1_0", "\u00b2", "\udcff", str(1 << 63), "9" * 5000]
)
def test_what_is_none_or_too_many_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidError, match=r"^N=.* must be a number$") as refused:
        whole_numbers.said("N", "a number", environ={"N": text})
    assert len(str(refused.value)) < 200


def test_what_is_out_of_its_bounds_is_refused() -> None:
    for text in ("0", "4"):
        with pytest.raises(InvalidError, match="must be from 1 to 3"):
            whole_numbers.said("N", "from 1 to 3", least=1, most=3, environ={"N": text})
