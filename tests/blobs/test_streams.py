"""Read-ahead, pure: wider for who reads on, none for who jumps."""

from __future__ import annotations

from rekindle.blobs.lazy.streams import MOST_AHEAD, Streams


def test_it_widens_for_a_reader_that_goes_on_and_stays_bounded() -> None:
    streams = Streams(1000)
    widths = [len(streams.touched(number)) for number in range(10)]
    assert widths == [0, 1, 2, 4, 8, 16, 32, 32, 32, 32]
    assert max(widths) == MOST_AHEAD


def test_one_that_jumps_gets_none_and_the_end_is_the_end() -> None:
    streams = Streams(100)
    assert [len(streams.touched(number)) for number in (5, 50, 20, 70)] == [0, 0, 0, 0]
    assert list(streams.touched(98)) == []
    assert list(streams.touched(99)) == []


def test_several_readers_are_told_apart_and_a_chunk_counts_once() -> None:
    streams = Streams(1000)
    for number in range(4):
        streams.touched(number)
        streams.touched(500 + number)
        assert list(streams.touched(number)) == []  # again in the same chunk
    assert list(streams.touched(4)) == list(range(5, 13))
    assert list(streams.touched(504)) == list(range(505, 513))
