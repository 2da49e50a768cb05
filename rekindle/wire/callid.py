"""Names of apps and calls, made by the client, so that a request can be sent twice; of functions.

Those of calls are dated: a call whose results were kept for their time is no unknown one. They say
as well whether somebody may ask what calls it made itself (``is_traced``): one that was spawned,
and all that are made inside of it.
Standard library only.
"""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DATE, _RANDOM = 6, 15
#: Behind the date.
_PLAIN, _TRACED = "0", "1"
_MARK = 9
_PREFIX = "fc-"
#: There was no such name before 2025.
_FIRST = 1_735_689_600
#: A random byte as a character; that some come a little more often costs less than a bit in all.
_CHARACTERS = bytes(ord(_ALPHABET[byte % len(_ALPHABET)]) for byte in range(256))
#: The last second, and how names begin in it: made once a second, not once a call.
_now = (0, "")


def new_call_id(*, traced: bool = False) -> str:
    """``fc-`` and 22 characters: the second that it was made in, a mark, and 89 random bits."""
    global _now
    second, begin = _now
    if (now := int(time.time())) != second:
        begin = _PREFIX + _digits(now)
        _now = (now, begin)
    mark = _TRACED if traced else _PLAIN
    return begin + mark + os.urandom(_RANDOM).translate(_CHARACTERS).decode()


def is_traced(call_id: str) -> bool:
    """Whether the calls that it makes are noted (execution/nested_calls.py)."""
    return call_id[_MARK : _MARK + 1] == _TRACED


def new_app_id() -> str:
    """``ap-`` and 22 characters: 131 random bits."""
    return "ap-" + os.urandom(22).translate(_CHARACTERS).decode()


def function_id(revision: str, app_id: str) -> str:
    """The id of a function revision within one app."""
    return f"fu-{revision}-{app_id[-8:]}"


def is_of_app(function_id: str, app_id: str) -> bool:
    """Whether an id that ``function_id`` made is of a function of this app."""
    return function_id.endswith(f"-{app_id[-8:]}")


def made_at(call_id: str) -> float | None:
    """When it was made, in seconds since the epoch; None for what is not such a name."""
    text = call_id.removeprefix(_PREFIX)
    if len(text) != _DATE + 1 + _RANDOM or not set(text) <= set(_ALPHABET):
        return None
    seconds = 0
    for character in text[:_DATE]:
        seconds = seconds * len(_ALPHABET) + _ALPHABET.index(character)
    return float(seconds) if seconds >= _FIRST else None


def _digits(number: int) -> str:
    out = []
    for _ in range(_DATE):
        number, digit = divmod(number, len(_ALPHABET))
        out.append(_ALPHABET[digit])
    return "".join(reversed(out))
