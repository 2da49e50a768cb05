"""The protocol of Redis, as far as programs need it that use Dict and Queue: words and replies.

Standard library only: runners load this. An array of strings is taken apart by a few operations on
all of it, which are as quick as a parser in C; that needs its end to be known, so who asks for a
large one asks for an echo of random bytes behind it (``ending``).
"""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """An error reply of the server; its text begins with a code word."""


class Incomplete(Exception):
    """There is more to come."""


def bulk(word: bytes) -> bytes:
    """One word of a command."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


def packed(*words: bytes) -> bytes:
    """A command as the server reads it."""
    return b"*%d\r\n" % len(words) + b"".join(map(bulk, words))


def ending(mark: bytes) -> bytes:
    """What a reply ends with behind which ``PING mark`` was asked."""
    return bulk(mark)


def parsed(data: bytes | bytearray, at: int = 0) -> tuple[Any, int]:
    """The reply at ``at``, and where the next one begins. Raises Incomplete, ValueError.

    Bytes, an integer, None, a list of such, or a Refusal, which is not raised.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind, line, after = data[at], bytes(data[at + 1 : end]), end + 2
    if kind == 36:  # $
        size = int(line)
        if size < 0:
            return None, after
        if len(data) < after + size + 2:
            raise Incomplete
        return bytes(data[after : after + size]), after + size + 2
    if kind == 43:  # +
        return line, after
    if kind == 58:  # :
        return int(line), after
    if kind == 45:  # -
        return Refusal(line.decode(errors="replace")), after
    if kind == 42:  # *
        found: list[Any] = []
        for _ in range(int(line)):
            one, after = parsed(data, after)
            found.append(one)
        return found, after
    raise ValueError(f"Redis answered with {bytes(data[at : at + 20])!r}")


def strings(data: bytes | bytearray, at: int = 0) -> list[bytes]:
    """The strings of an array of strings that begins at ``at`` and ends with ``data``.

    Raises Incomplete and ValueError, where it is no such.
    """
    if data[at : at + 1] != b"*":
        raise ValueError("Redis gave no list")
    # A line of each string says its length: where none contains a line's end there are no others.
    lines = bytes(data[at:]).split(b"\r\n")
    count = int(lines[0][1:])
    if len(lines) == 2 * count + 2:
        return lines[2::2]
    found, end = parsed(data, at)
    if end != len(data):
        raise ValueError("Redis gave more than a list")
    return list(found)
