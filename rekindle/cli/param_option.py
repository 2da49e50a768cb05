"""``--param NAME=VALUE``: parameters of a class, of commands that have runners of it started."""

from __future__ import annotations

from typing import Any

import click

from rekindle.cli.refs import Target
from rekindle.exception import InvalidError
from rekindle.execution.declared import parameters_of
from rekindle.sdk.checks import nearest
from rekindle.sdk.class_parameters import annotation_of
from rekindle.sdk.cls import Cls, Instance
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.sdk.function import Function

param_option = click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the class; may be given several times.",
)


def bound(target: Target, given: tuple[str, ...]) -> Function[..., Any] | Instance:
    """The function, or an instance of the class with these values. Raises InvalidError."""
    what = target.what
    assert not isinstance(what, LocalEntrypoint)  # who has parameters asks for none
    if isinstance(what, Cls):
        made: Instance = what(**parse_parameters(what._declaration.raw, given))
        return made
    if given:
        raise InvalidError(f"--param: {target.name} is a function, and has no parameters")
    return what


def parse_parameters(raw: type, given: tuple[str, ...]) -> dict[str, Any]:
    """Values for a class's parameters, by their annotations. Raises InvalidError."""
    known = {name: one for name, one in parameters_of(raw).items() if one.init}
    values: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals:
            raise InvalidError(f"--param {item!r}: write it as NAME=VALUE")
        if name not in known:
            raise InvalidError(f"{raw.__name__} has no parameter {name!r}{nearest(name, known)}")
        values[name] = _typed(item, text, annotation_of(raw, name))
    needed = [name for name, one in known.items() if one.default is ...]
    if missing := [name for name in needed if name not in values]:
        asked = " ".join(f"--param {name}=VALUE" for name in missing)
        raise InvalidError(f"{raw.__name__} has parameters without a default: add {asked}")
    return values


def _typed(item: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise InvalidError(f"--param {item}: write true or false")
        return text.lower() == "true"
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise InvalidError(f"--param {item}: {text!r} is not a whole number") from None
    return text.encode() if kind is bytes else text
