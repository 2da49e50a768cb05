"""What a class declares with ``rekindle.parameter()``, and values that it is instantiated with.

Knows the user's class, or what its spec says of one that is elsewhere (wire/class_parameters.py):
the values are the same, so they name the same pool. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rekindle.counted import counted
from rekindle.exception import InvalidError, of_the_program
from rekindle.execution import annotated
from rekindle.execution.declared import parameters_of
from rekindle.sdk import checks
from rekindle.wire.class_parameters import TYPES, ClassParameter, Value, to_text

_ANNOTATIONS: dict[Any, type] = {**TYPES, **{kind: kind for kind in TYPES.values()}}


def annotation_of(raw: type, name: str) -> Any:
    """The annotated type of a parameter: one of str, int, bytes, bool, or None for others."""
    for cls in raw.__mro__:
        given_of = annotated.of_class(cls)
        if name in given_of:
            given = given_of[name]
            return _ANNOTATIONS.get(given) if isinstance(given, (type, str)) else None
    return None


def declared(raw: type) -> tuple[ClassParameter, ...]:
    """Those that can be given. Raises InvalidError for what can be no parameter."""
    found = []
    for name, parameter in parameters_of(raw).items():
        if not parameter.init:
            continue
        kind = annotation_of(raw, name)
        if kind is None:
            raise InvalidError(
                f"{raw.__name__}.{name} must be annotated with str, int, bytes or bool: "
                f"`{name}: str = rekindle.parameter()`"
            )
        default = None
        if parameter.default is not ...:
            check_type(f"the default of {raw.__name__}.{name}", parameter.default, kind)
            default = to_text(parameter.default)
        found.append(ClassParameter(name, kind.__name__, default))
    return tuple(found)


def bind(
    owner: str, known: Sequence[ClassParameter], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Value]:
    """A value for each parameter: what is given, else its default.

    Raises TypeError, which names those that there are.
    """
    names = [parameter.name for parameter in known]
    there = f"its parameters: {', '.join(map(_signature, known))}" if known else "it has none"
    if len(args) > len(names):
        takes = f"takes {counted(len(names), 'argument')}"
        takes += f", {counted(len(args), 'was', 'were')} given"
        raise _misfit(f"{owner}() {takes} ({there})")
    given = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            raise _misfit(
                f"{owner}() got an unexpected keyword argument {name!r}"
                f"{checks.nearest(name, names)} ({there})"
            )
        if name in given:
            raise _misfit(f"{owner}() got two values for {name!r}")
        given[name] = value
    missing = [one.name for one in known if one.name not in given and one.default is None]
    if missing:
        raise _misfit(f"{owner}() needs values for: {', '.join(missing)} ({there})")
    return {one.name: _value(owner, one, given) for one in known}


def check_type(what: str, value: Any, kind: type) -> None:
    """Raise InvalidError for a value of another type."""
    if type(value) is not kind:
        raise InvalidError(f"{what} is {value!r}; it must be of type {kind.__name__}")


def _value(owner: str, parameter: ClassParameter, given: Mapping[str, Any]) -> Any:
    if parameter.name not in given:
        return parameter.value()
    value = given[parameter.name]
    try:
        check_type(f"{owner}({parameter.name}=)", value, TYPES[parameter.type])
    except InvalidError as error:
        raise _misfit(str(error)) from None
    return value


def _misfit(text: str) -> TypeError:
    return of_the_program(TypeError(text))


def _signature(parameter: ClassParameter) -> str:
    default = f" = {parameter.value()!r}" if parameter.default is not None else ""
    return f"{parameter.name}: {parameter.type}{default}"
