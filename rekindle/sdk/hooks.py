"""The decorators of a class body: enter, exit, method, parameter.

They mark functions and leave them as they are, so that the decorated class is a plain class in a
runner. Standard library only: templates unpickle classes whose marks name ``method_handle``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from rekindle.exception import InvalidError, a_or_an
from rekindle.execution import declared
from rekindle.execution.declared import MARK, Decorated, Mark, Parameter, mark_of, sharing_of
from rekindle.sdk import checks
from rekindle.sdk.user_frames import trimmed

F = TypeVar("F", bound=Callable[..., Any])


@trimmed
def enter(*args: Any, snap: bool | Literal["gpu"] = False) -> Callable[[F], F]:
    """Run this method when a runner starts, before its first input.

    ``snap=True``: run it in the template, before the snapshot is taken; its effects are in every
    runner that is forked or restored. ``snap=False``: run it in every runner. ``snap="gpu"``: run
    it in a process that has its GPU, before a GPU snapshot is taken (``enable_gpu_snapshot=True``);
    without one it runs in every runner, before the hooks of ``snap=False``. A class with GPU
    snapshots and no such hook has its ``snap=True`` hooks run there.
    """
    checks.parentheses("@rekindle.enter", args)
    if snap != "gpu":
        checks.flag("@rekindle.enter(snap)", snap)
    return trimmed(lambda function: _mark(function, Mark("enter", snap), "@rekindle.enter()"))


@trimmed
def exit(*args: Any) -> Callable[[F], F]:
    """Run this method when a runner ends in good order; all of them have 30 seconds.

    That is when it was idle for ``scaledown_window``, when its app ends or has a new version, and
    when it is stopped; not where its process is killed. An exception in it is logged.
    """
    checks.parentheses("@rekindle.exit", args)
    return trimmed(lambda function: _mark(function, Mark("exit"), "@rekindle.exit()"))


@trimmed
def method(*args: Any, is_generator: bool | None = None) -> Callable[[F], F]:
    """Make a method of an ``@app.cls()`` class callable with ``.remote()`` and its like.

    A generator, and what returns an iterator and has ``is_generator=True``, is called with
    ``.remote_gen()``. Raises InvalidError for what is no plain method.
    """
    checks.parentheses("@rekindle.method", args)

    @trimmed
    def decorate(function: F) -> F:
        generator = checks.generator("@rekindle.method", function, is_generator)
        mark = Mark("method", handle=method_handle, generator=generator)
        return _mark(function, mark, "@rekindle.method()")

    return decorate


@trimmed
def parameter(*, default: Any = ..., init: bool = True) -> Any:
    """A value that is given when the class is instantiated: ``size: int = parameter(default=1)``.

    Types: str, int, bytes, bool. Every distinct set of values has runners of its own. With
    ``init=False`` it cannot be given and is of any type: an attribute with its default, or one that
    a hook sets. All values together take 16 KiB at most.
    Raises InvalidError; who instantiates the class wrongly gets a TypeError or InvalidError.
    """
    checks.flag("rekindle.parameter(init)", init)
    return Parameter(default, init)


def method_handle(
    cls: str, methods: dict[str, str], parameters: dict[str, Any], public: str, app: str
) -> Any:
    """The Function of a method, by names alone: what a runner calls methods of its own class by."""
    from rekindle.sdk.binding import Binding
    from rekindle.sdk.declaration import Declaration
    from rekindle.sdk.function import Function

    binding = Binding(Declaration(app, cls, "cls", methods), parameters)
    made: Function[..., Any] = Function(binding.declaration, method=public, binding=binding)
    return made


def _mark(function: F, mark: Mark, decorator: str) -> F:
    if isinstance(function, Decorated):
        raise InvalidError(
            f"{decorator} is above the @app decorator of {function!r}: swap the order, "
            f"the @app decorator comes first"
        )
    if isinstance(function, (staticmethod, classmethod, property)):
        raise InvalidError(
            f"{decorator} is on {a_or_an(type(function))}: it must be on a method with self"
        )
    if inspect.isclass(function) or not inspect.isfunction(function):
        raise InvalidError(f"{decorator} is on {function!r}: it must be on a method of a class")
    former = mark_of(function)
    if former is not None and former.kind == mark.kind and sharing_of(function) is not None:
        return function  # @batched() makes a method of it already
    if former is not None:
        raise InvalidError(
            f"{decorator} on {function.__qualname__}, which is marked {former.kind!r} already: "
            f"a method can have one of enter, exit and method"
        )
    if mark.kind != "method" and declared.is_generator(function):
        raise InvalidError(
            f"{decorator} is on {function.__qualname__}, a generator: a hook runs once; write "
            f"what is before its yield in @rekindle.enter(), what is behind it in @rekindle.exit()"
        )
    setattr(function, MARK, mark)
    return function
