"""What ``@app.function()`` refuses to be on. Standard library only."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from rekindle.exception import InvalidError, a_or_an
from rekindle.execution import annotated
from rekindle.execution.declared import Decorated, mark_of
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.sdk.many_inputs_checks import in_class


def check_function(raw: Any) -> None:
    """Refuse what cannot be a Function. Raises InvalidError."""
    if isinstance(raw, Decorated):
        raise InvalidError(f"@app.function() is on {raw!r}, which is decorated already")
    if isinstance(raw, LocalEntrypoint):
        raise InvalidError(
            f"{raw.name} cannot be both a local entrypoint and a function: the first runs here, "
            f"the second in a runner"
        )
    if inspect.isclass(raw):
        raise InvalidError(f"@app.function() is on class {raw.__name__}; use @app.cls()")
    if isinstance(raw, (staticmethod, classmethod)):
        raise InvalidError(
            f"@app.function() is on {a_or_an(type(raw))}; use @app.cls() on the class and "
            f"@rekindle.method() on methods with self"
        )
    if not inspect.isfunction(raw):
        raise InvalidError(f"@app.function() is on {raw!r}: it must be on a function (def)")
    mark = mark_of(raw)
    if mark is not None:
        raise InvalidError(
            f"@app.function() is on {raw.__qualname__}, which has @rekindle.{mark.kind}(): that "
            f"belongs into a class with @app.cls()"
        )
    if in_class(raw):
        raise InvalidError(
            f"@app.function() is on {raw.__qualname__}, a method: use @app.cls() on the class and "
            f"@rekindle.method() on the method"
        )
    if raw.__name__ == "<lambda>":
        raise InvalidError("@app.function() is on a lambda: write a def, it needs a name")


def check_takes_nothing(raw: Callable[..., Any]) -> None:
    """Refuse, under a schedule, what needs arguments. Raises InvalidError."""
    try:
        annotated.signature(raw).bind()
    except TypeError as error:
        raise InvalidError(
            f"{raw.__name__} has a schedule, which calls it without arguments: {error}; "
            f"give its parameters defaults"
        ) from None
