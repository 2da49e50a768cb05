"""Whether the name of a file is one that a pattern of Docker means: by the rules of Go's
``filepath.Match``, which are not those of a shell (``[^a]``, and not ``[!a]``, is all but ``a``).

Knows nothing of folders: ``**`` is ``*`` here. Standard library only.
"""

from __future__ import annotations

import functools
import re

#: One of a class: a character, which a backslash may quote, or a range of them.
_ONE = r"(?:\\.|[^\\\]-])"
_CLASS = re.compile(rf"\[(\^?+)((?:{_ONE}(?:-{_ONE})?)+)\]", re.DOTALL)
_OF_CLASS = re.compile(rf"({_ONE})(?:-({_ONE}))?", re.DOTALL)


def fits(name: str, pattern: str) -> bool:
    """Whether the whole name is what the pattern means. Raises ValueError for one that is none."""
    return _compiled(pattern).fullmatch(name) is not None


def check(pattern: str) -> None:
    """Raises ValueError for what is no pattern."""
    _compiled(pattern)


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    found, at = "", 0
    while at < len(pattern):
        one = pattern[at]
        if one == "[":
            of_class = _CLASS.match(pattern, at)
            if of_class is None:
                raise ValueError(f"{pattern!r} is no pattern: a [ is not closed, or [] has nothing")
            found += _any_of(of_class[2], "^" if of_class[1] else "")
            at = of_class.end()
            continue
        if one == "\\":
            at += 1
            if at == len(pattern):
                raise ValueError(f"{pattern!r} is no pattern: it ends with a backslash")
            one = pattern[at]
            found += re.escape(one)
        else:
            found += {"*": ".*", "?": "."}.get(one) or re.escape(one)
        at += 1
    return re.compile(found, re.DOTALL)


def _any_of(members: str, sign: str) -> str:
    ranges = ""
    for first, last in _OF_CLASS.findall(members):
        low, high = first[-1], (last or first)[-1]
        if low <= high:  # else it means nothing
            ranges += f"{re.escape(low)}-{re.escape(high)}"
    if not ranges:
        return "." if sign else "(?!)"
    return f"[{sign}{ranges}]"
