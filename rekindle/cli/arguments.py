"""Options of ``rekindle run`` made from a Python signature."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, Union

import click

from rekindle.exception import InvalidError
from rekindle.execution import annotated

_PLAIN: dict[Any, Any] = {
    str: click.STRING,
    int: click.INT,
    float: click.FLOAT,
    datetime: click.DateTime(
        ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
    ),
}
_EMPTY = inspect.Parameter.empty


def takes_raw(function: Callable[..., Any]) -> bool:
    """Whether it has ``*args`` and nothing else: then it gets the words as they are."""
    kinds = [p.kind for p in annotated.signature(function).parameters.values()]
    return kinds == [inspect.Parameter.VAR_POSITIONAL]


def options_of(function: Callable[..., Any], what: str) -> list[click.Option]:
    """One option for each parameter. Raises InvalidError for types that a shell cannot give."""
    hints = _hints(function)
    options = []
    for name, parameter in annotated.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            raise InvalidError(
                f"{what} takes {parameter}; on the command line that can only be alone"
                if parameter.kind is parameter.VAR_POSITIONAL
                else f"{what} takes {parameter}, which cannot be given on the command line"
            )
        options.append(option(what, name, hints.get(name, _EMPTY), parameter.default))
    return options


def option(what: str, name: str, annotation: Any, default: Any) -> click.Option:
    """The option of one parameter; required where ``default`` is empty."""
    flag = f"--{name.strip('_').replace('_', '-')}"
    kind = _type_of(annotation, default)
    if kind is None:
        raise InvalidError(
            f"{what}: parameter {name!r} is of type {_shown(annotation)}, which cannot be given on "
            f"the command line; str, int, float, bool, datetime, Optional and Literal can"
        )
    settings: dict[str, Any] = {"required": default is _EMPTY}
    if default is not _EMPTY:
        # The value itself need not be what a shell can say (None, a datetime).
        settings |= {"default": default, "show_default": default is not None}
        if callable(default):  # a value as any other, which click would call
            settings |= {"default": lambda: default, "show_default": _shown(default)}
    if kind is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}", name], **settings)
    return click.Option([flag, name], type=kind, **settings)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception as error:  # noqa: BLE001 - evaluating a user's annotations may raise anything
        raise InvalidError(
            f"the annotations of {getattr(function, '__qualname__', function)} cannot be "
            f"evaluated: {type(error).__name__}: {error}"
        ) from None


def _type_of(annotation: Any, default: Any) -> Any:
    """A click type, ``bool``, or None where there is none."""
    if annotation is Any:  # it need not be what its default is
        return _AsGiven()
    if annotation is _EMPTY:
        if default is _EMPTY:
            return _PLAIN[str]
        if type(default) not in (*_PLAIN, bool):
            return _AsGiven()
        annotation = type(default)
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(inner) != 1:
            return None
        return _type_of(inner[0], default)
    if origin is Literal:
        return _choice(typing.get_args(annotation))
    if annotation is bool:
        return bool
    return _PLAIN.get(annotation)


def _choice(values: tuple[Any, ...]) -> Any:
    if all(isinstance(value, str) for value in values):
        return click.Choice(values)
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return _IntChoice([str(value) for value in values])
    return None


class _AsGiven(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A word of the command line is a str; a default stays what it is."""

    name = "text"


class _IntChoice(click.Choice):  # type: ignore[type-arg,unused-ignore]
    """One of some whole numbers."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return int(super().convert(str(value), param, ctx))


class TextAsBytes(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Bytes, given as text in UTF-8: what a parameter of a class may be, and no argument."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value.encode(errors="surrogateescape") if isinstance(value, str) else value


def _shown(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
