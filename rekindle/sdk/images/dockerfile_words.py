"""Words of a line of a Dockerfile: quotes, backslashes and variables, as Docker reads them.

What is not set in the lines themselves stays a mention, which is filled in where the image is built
(wire/image_variables.py). Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rekindle.wire.image_variables import literal, mentioned

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:(:[-+])((?:[^{}]|\$\{[^{}]*\})*))?\}|(\w+))")


def words(text: str, values: Mapping[str, str]) -> list[str]:
    """The words of a line, each with what it mentions. Raises ValueError."""
    found: list[str] = []
    word: str | None = None
    quote, at = "", 0
    while at < len(text):
        one = text[at]
        at += 1
        if one.isspace() and not quote:
            if word is not None:
                found.append(word)
            word = None
            continue
        word = word or ""
        if one == quote:
            quote = ""
        elif one in "'\"" and not quote:
            quote = one
        elif quote == "'":
            word += literal(one)
        elif one == "\\" and at < len(text) and (not quote or text[at] in '"$\\'):
            word += literal(text[at])
            at += 1
        elif one == "$" and (variable := _VARIABLE.match(text, at - 1)):
            word += _value(variable, values)
            at = variable.end()
        else:
            word += literal(one)
    if quote:
        raise ValueError(f"{quote} is not closed")
    return found if word is None else [*found, word]


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text as it is, but for variables; with what it mentions. Raises ValueError."""
    found, last = "", 0
    for variable in _VARIABLE.finditer(text):
        found += literal(text[last : variable.start()]) + _value(variable, values)
        last = variable.end()
    return found + literal(text[last:])


def _value(variable: re.Match[str], values: Mapping[str, str]) -> str:
    name, sign = variable[1] or variable[4], variable[2] or ""
    other = filled(variable[3] or "", values)
    if name not in values:
        if mentioned(other) or "}" in other:
            raise ValueError(f"{variable[0]}: write what stands for {name} without a variable")
        return f"${{{name}{sign}{other}}}"
    value = values[name]
    if sign == ":+":
        return other if value else ""
    return literal(value) if value or not sign else other
