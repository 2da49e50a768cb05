"""Several lines in one message of a log."""

from __future__ import annotations

from rekindle.wire import lines
from rekindle.wire import rekindle_pb2 as pb


def told(*found: pb.LogLine) -> list[tuple[int, str, bool]]:
    return [(one.seq, one.text, one.partial) for one in found]


FOUR = pb.LogLine(seq=9, text="One\ntwo\nthree\nfour", partial=True, call_id="fc-1")


def test_each_line_has_its_number_and_only_the_last_is_unfinished() -> None:
    assert lines.count(FOUR) == 4 and lines.first_seq(FOUR) == 6
    found = list(lines.each(FOUR))
    assert told(*found) == [
        (6, "One", False),
        (7, "two", False),
        (8, "three", False),
        (9, "four", True),
    ]
    assert {one.call_id for one in found} == {"fc-1"}


def test_those_behind_a_number() -> None:
    for seq in (0, 5):
        assert lines.behind(FOUR, seq) is FOUR
    assert told(lines.behind(FOUR, 7)) == [(9, "three\nfour", True)]


def test_those_with_a_text_stay_together_where_they_are_neighbours() -> None:
    assert told(*lines.with_text(FOUR, "o")) == [(7, "One\ntwo", False), (9, "four", True)]
    assert told(*lines.with_text(FOUR, "thr")) == [(8, "three", False)]
    assert lines.with_text(FOUR, "e\nt") == []
