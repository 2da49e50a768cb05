"""The form in which arrivals are stored: blocks of exact times, and counts by the minute of a day.

A time costs two or three bytes. Knows nothing of Redis.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence

#: Entries of a full block.
BLOCK = 1024
_MINUTES = 1440
#: Two numbers an entry, of ten bytes at most.
_MOST_OF_A_BLOCK = 20 * BLOCK

Arrival = tuple[float, int]  # seconds since the epoch, inputs


def pack_arrivals(arrivals: Sequence[Arrival]) -> bytes:
    """Milliseconds between the times, and the counts, as numbers of variable length."""
    raw = bytearray()
    last = 0
    for at, count in arrivals:
        at_ms = max(last, round(at * 1000))
        _put(raw, at_ms - last)
        _put(raw, count)
        last = at_ms
    return zlib.compress(bytes(raw), 1)


def unpack_arrivals(data: bytes) -> list[Arrival]:
    """The inverse of ``pack_arrivals``, to the millisecond. Raises ValueError, zlib.error."""
    numbers = list(_numbers(_unpacked(data, _MOST_OF_A_BLOCK)))
    at_ms = 0
    found = []
    for since, count in zip(numbers[::2], numbers[1::2], strict=True):
        at_ms += since
        found.append((at_ms / 1000, count))
    return found


def _unpacked(data: bytes, most: int) -> bytes:
    """What is damaged is not to fill the memory."""
    made = zlib.decompressobj()
    raw = made.decompress(data, most)
    if not made.eof:
        raise ValueError("it is cut off, or longer than it can be")
    return raw


def _put(raw: bytearray, number: int) -> None:
    while number > 0x7F:
        raw.append(number & 0x7F | 0x80)
        number >>= 7
    raw.append(number)


def _numbers(raw: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in raw:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            yield number
            number = shift = 0


class Minutes:
    """Inputs in each minute of one day (UTC)."""

    def __init__(self, counts: array[int] | None = None) -> None:
        self._counts = array("I", bytes(4 * _MINUTES)) if counts is None else counts

    def count(self, minute: int, inputs: int) -> None:
        """So many more in a minute."""
        self._counts[minute] = min(self._counts[minute] + inputs, 0xFFFFFFFF)

    def counted(self) -> Iterator[tuple[int, int]]:
        """Minutes that had any, with their counts."""
        return ((minute, count) for minute, count in enumerate(self._counts) if count)

    def to_bytes(self) -> bytes:
        """Little-endian."""
        counts = array("I", self._counts)
        if sys.byteorder == "big":
            counts.byteswap()
        return counts.tobytes()


def pack_minutes(minutes: Minutes) -> bytes:
    """A day of mostly zeros takes a few bytes."""
    return zlib.compress(minutes.to_bytes(), 1)


def unpack_minutes(data: bytes) -> Minutes:
    """The inverse of ``pack_minutes``. Raises ValueError, zlib.error."""
    counts = array("I")
    counts.frombytes(_unpacked(data, 4 * _MINUTES))
    if len(counts) != _MINUTES:
        raise ValueError(f"a day of {len(counts)} minutes")
    if sys.byteorder == "big":
        counts.byteswap()
    return Minutes(counts)
