"""Names of calls."""

from __future__ import annotations

import re
import time

from rekindle.wire.callid import made_at, new_call_id


def test_names_differ_are_of_one_length_and_sort_by_their_second() -> None:
    names = [new_call_id() for _ in range(1000)]
    assert len(set(names)) == 1000
    assert all(re.fullmatch(r"fc-[0-9A-Za-z]{22}", name) for name in names)
    assert {name[:6] for name in names} == {names[0][:6]}


def test_a_name_tells_when_it_was_made() -> None:
    before = time.time()
    made = made_at(new_call_id())
    assert made is not None
    assert int(before) <= made <= time.time()


def test_what_is_no_such_name_tells_nothing() -> None:
    for name in ("", "fc-nothing", "fc-" + "x" * 23, "fc-" + "-" * 22, "fc-" + "0" * 22):
        assert made_at(name) is None
