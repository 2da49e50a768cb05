"""Replies of Redis, taken apart without its client."""

from __future__ import annotations

import hiredis
import pytest

from rekindle.wire.resp import Incomplete, Refusal, bulk, packed, parsed, strings

REPLIES = [
    (b"$5\r\nhello\r\n", b"hello"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b":42\r\n", 42),
    (b"+OK\r\n", b"OK"),
    (b"*2\r\n$1\r\n0\r\n*2\r\n:1\r\n$-1\r\n", [b"0", [1, None]]),
    (b"*0\r\n", []),
]


@pytest.mark.parametrize(("sent", "meant"), REPLIES)
def test_a_reply_is_what_it_is_for_the_client_of_redis(sent: bytes, meant: object) -> None:
    reader = hiredis.Reader()
    reader.feed(sent)
    assert parsed(sent + b"more") == (meant, len(sent)) == (reader.gets(), len(sent))


@pytest.mark.parametrize("sent", [one for one, _ in REPLIES])
def test_a_part_of_a_reply_is_none(sent: bytes) -> None:
    for size in range(len(sent)):
        with pytest.raises(Incomplete):
            parsed(sent[:size])


def test_an_error_is_a_value() -> None:
    found, _ = parsed(b"-WRONGPASS no such user\r\n")
    assert isinstance(found, Refusal) and str(found) == "WRONGPASS no such user"
    with pytest.raises(ValueError, match="answered"):
        parsed(b"?\r\n")


@pytest.mark.parametrize(
    "words",
    [
        [],
        [b""],
        [b"a", b"bb", b"ccc"],
        [b"\r\n", b"a\r\nb", b"\r", b"\n"],  # what ends lines in them
        [b"$1\r\n", b"*2\r\n$1\r\na"],  # what looks like the protocol
    ],
)
def test_an_array_of_strings_is_taken_apart_whatever_is_in_them(words: list[bytes]) -> None:
    sent = packed(*words)
    assert strings(sent) == words == strings(b"before" + sent, 6)


def test_what_is_no_whole_array_of_strings_is_refused() -> None:
    with pytest.raises(ValueError, match="no list"):
        strings(bulk(b"a"))
    with pytest.raises(ValueError, match="more than"):
        strings(packed(b"a\r\n") + b":1\r\n")
