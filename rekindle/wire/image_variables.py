"""Texts that mention variables of an image: written by the client, filled in where it is built.

What the base of an image sets is known there alone. ``$$`` is a dollar, ``${NAME}`` a value,
``${NAME:-text}`` a value or else the text, ``${NAME:+text}`` the text where there is a value.
Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_MENTION = re.compile(r"\$(?:\$|\{(\w+)(?::([-+])([^}]*))?\})")
#: Of an image that sets none.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def literal(text: str) -> str:
    """A text that mentions none."""
    return text.replace("$", "$$")


def mentioned(text: str) -> list[str]:
    """The names in it."""
    return [found[1] for found in _MENTION.finditer(text) if found[1]]


def filled(text: str, values: Mapping[str, str]) -> str:
    """With values in the place of names; "" for what is not set."""

    def put(found: re.Match[str]) -> str:
        name, sign, other = found[1], found[2], found[3]
        if not name:
            return "$"
        value = values.get(name, "")
        if sign == "+":
            return filled(other, {}) if value else ""
        return value or (filled(other, {}) if sign else "")

    return _MENTION.sub(put, text)
