"""Checks of what a user gives to decorators. Each error names parameter, value and allowed range.

Standard library only.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rekindle.exception import InvalidError, of_the_program
from rekindle.execution.declared import Decorated, is_generator
from rekindle.sdk.unsupported import RENAMED, keyword
from rekindle.wire.environment import variable_problem

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TAG = re.compile(r"[A-Za-z0-9._-]{1,63}")


def number(
    parameter: str,
    value: Any,
    low: float,
    high: float | None,
    unit: str = "",
    *,
    whole: bool = False,
) -> None:
    """``low <= value <= high`` and a number (a whole one), not a bool."""
    kinds = (int,) if whole else (int, float)
    allowed = f"from {low:g} to {high:g}" if high is not None else f"of at least {low:g}"
    kind = "a whole number" if whole else "a number"
    unit = f" {unit}" if unit else ""
    if (
        isinstance(value, bool)
        or not isinstance(value, kinds)
        or not low <= float(value) <= (float("inf") if high is None else high)
    ):
        raise InvalidError(f"{parameter}={value!r} must be {kind}{unit} {allowed}")


def request(
    parameter: str,
    value: Any,
    low: float,
    high: float | None,
    unit: str,
    *,
    whole: bool = False,
) -> tuple[Any, Any]:
    """What is asked for and its limit, of a number (no limit), a pair of both, or None."""
    if value is None:
        return None, None
    if not isinstance(value, (tuple, list)):
        number(parameter, value, low, high, unit, whole=whole)
        return value, None
    if len(value) != 2:
        raise InvalidError(f"{parameter}={value!r} must be a number or a pair (request, limit)")
    for part in value:
        number(f"{parameter} (request, limit)", part, low, high, unit, whole=whole)
    if value[1] < value[0]:
        raise InvalidError(f"{parameter}={value!r}: the limit must not be below the request")
    return value[0], value[1]


def flag(parameter: str, value: Any) -> None:
    """True or False and nothing like them."""
    if not isinstance(value, bool):
        raise InvalidError(f"{parameter}={value!r} must be True or False")


def generator(decorator: str, function: Any, given: bool | None) -> bool:
    """Whether a function is called as a generator; ``given``: what is said of it."""
    found = is_generator(function)
    if given is None:
        return found
    flag(f"{decorator}(is_generator)", given)
    if found and not given:
        raise InvalidError(
            f"{decorator}(is_generator=False) is on {function.__qualname__}, which is a generator: "
            f"return a list, or leave it out and call it with .remote_gen()"
        )
    if given and inspect.iscoroutinefunction(function):
        raise InvalidError(
            f"{decorator}(is_generator=True) is on {function.__qualname__}, an async function "
            f"without a yield: what it returns comes as a whole"
        )
    return given


def name(what: str, value: Any) -> None:
    """A name of at most 64 letters, digits, dots, dashes and underscores."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidError(
            f"{what} {value!r} must be 1 to 64 characters out of ASCII letters, digits and . _ -"
        )


def app_name(value: Any) -> None:
    """The name that an app is given: a name that no command takes for an option."""
    name("the app name", value)
    if value.startswith("-"):
        raise InvalidError(f"the app name {value!r} must not begin with -, as options do")


def tags(given: Any) -> dict[str, str]:
    """Tags of an app: texts by name, each as a name may be. Raises InvalidError."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidError(f"tags={given!r} must be a dict of texts")
    for key, value in given.items():
        for what, text in ((f"the tag {key!r}", key), (f"the value of the tag {key!r}", value)):
            if not isinstance(text, str) or not _TAG.fullmatch(text):
                raise InvalidError(
                    f"{what} is {text!r}: write 1 to 63 ASCII letters, digits and . _ -"
                )
    return dict(given)


def environment(parameter: str, value: Any) -> dict[str, str]:
    """A mapping of variable names to strings; entries that are None are left out."""
    if not isinstance(value, Mapping):  # it may be a value: it is not shown
        raise InvalidError(
            f"{parameter} must be a dict of names to strings; what is given is of type "
            f"{type(value).__name__}"
        )
    out: dict[str, str] = {}
    for key, text in value.items():
        if problem := variable_problem(key, "" if text is None else text):
            raise InvalidError(f"{parameter}{'' if problem.startswith('[') else ': '}{problem}")
        if text is not None:
            out[key] = text
    return out


def nearest(word: str, known: Iterable[str], *, before: str = "") -> str:
    """``; did you mean 'x'?`` where one of ``known`` is near, otherwise nothing.

    ``before`` is what the user has to write before each of them: the folder of a file.
    """
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {before + found[0]!r}?" if found else ""


def parentheses(decorator: str, given: tuple[Any, ...]) -> None:
    """Refuse what stands in a decorator's place for positional arguments."""
    if len(given) == 1 and (callable(given[0]) or isinstance(given[0], Decorated)):
        raise InvalidError(f"write {decorator}(), with parentheses")
    if given:
        text = f"{decorator}() takes keyword arguments only, not {given[0]!r}"
        raise of_the_program(TypeError(text))


def unknown_keywords(where: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse the keywords ``given`` that are not ``known``.

    InvalidError for those that programs for Modal know, TypeError with the nearest name for others.
    """
    for key in given:
        if key in known:
            continue
        if key in RENAMED:
            raise InvalidError(f"{where}: there is no {key}=; use {RENAMED[key]}")
        if instead := keyword(where, key):
            raise InvalidError(f"{where}: there is no {key}=; {instead}")
        text = f"{where} got an unexpected keyword argument {key!r}{nearest(key, known)}"
        raise of_the_program(TypeError(text))


def of_this_instance(where: str, *, client: None = None) -> None:
    """Refuse to be sent elsewhere by an argument: the surroundings name the instance."""
    if client is not None:
        raise InvalidError(
            f"{where}(client=...): programs have no clients of their own; $REKINDLE_DIR names the "
            f"instance that they talk to"
        )
