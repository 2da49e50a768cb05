"""What was completed while somebody read is not taken up by who read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rekindle.controller.queue.tombstones import Tombstones
from rekindle.controller.storage.runs import from_runs, to_runs


def test_a_reader_sees_what_was_completed_since_it_began() -> None:
    tombstones = Tombstones()
    tombstones.completed("before")
    with tombstones.reading():
        tombstones.completed("meanwhile")
        assert tombstones.is_gone("meanwhile")
        assert not tombstones.is_gone("before")
    assert not tombstones.is_gone("meanwhile")


def test_names_are_kept_for_the_oldest_reader_and_no_longer() -> None:
    tombstones = Tombstones()
    old, young = tombstones.reading(), tombstones.reading()
    old.__enter__()
    tombstones.completed("a")
    young.__enter__()
    tombstones.completed("b")
    old.__exit__(None, None, None)
    assert tombstones.is_gone("b") and not tombstones.is_gone("a")
    young.__exit__(None, None, None)
    assert not tombstones.is_gone("b")


@given(st.lists(st.sampled_from(["begin", "end", "complete"]), max_size=60))
def test_nothing_that_a_reader_must_not_touch_is_forgotten(steps: list[str]) -> None:
    tombstones = Tombstones()
    readers: list[tuple[object, set[str]]] = []
    count = 0
    for step in steps:
        if step == "begin":
            reader = tombstones.reading()
            reader.__enter__()
            readers.append((reader, set()))
        elif step == "end" and readers:
            reader, _ = readers.pop(count % len(readers))
            reader.__exit__(None, None, None)  # type: ignore[attr-defined]
        elif step == "complete":
            count += 1
            tombstones.completed(f"{count}")
            for _, seen in readers:
                seen.add(f"{count}")
        assert all(tombstones.is_gone(name) for _, seen in readers for name in seen)
    for reader, _ in readers:
        reader.__exit__(None, None, None)  # type: ignore[attr-defined]
    assert not any(tombstones.is_gone(f"{i}") for i in range(count + 1))


@given(st.lists(st.integers(0, 2**31 - 1), max_size=200))
def test_runs_say_the_same_indexes_in_the_same_order(indexes: list[int]) -> None:
    assert from_runs(to_runs(indexes).encode()) == indexes


def test_neighbours_are_one_run() -> None:
    assert to_runs(range(512)) == "0-511"
    assert to_runs([1, 2, 3, 7, 9, 10]) == "1-3,7-7,9-10"
    assert to_runs([]) == ""
