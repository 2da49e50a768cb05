"""What the traceback of an error shows that a program gets from us: the program's own frames.

``rekindle run`` leaves ours out where it shows an error (cli/failure.py). Where Python itself shows
it, in ``python program.py`` or in a log, they must not be in it. ``REKINDLE_TRACEBACK=1`` keeps
them. Standard library only.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, TracebackType
from typing import Any, TypeVar, cast

from rekindle.exception import Error, InvalidError, of_the_program
from rekindle.wire import switches

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STDLIB = os.path.dirname(os.__file__) + os.sep
#: Modules that hand on what a program calls with, and do nothing else with it.
_HAND_ON = tuple(
    f"{_PACKAGE}sdk{os.sep}{name}.py"
    for name in ("user_frames", "argument_types", "dual", "objects/steps")
)
#: Of a class: what Python calls for a program.
_OPERATORS = frozenset(
    f"__{name}__"
    for name in (
        *("init", "call", "getattr", "getitem", "setitem", "delitem", "contains", "len", "iter"),
        *("enter", "exit", "aenter", "aexit", "next", "anext", "invert", "reduce"),
    )
)
#: What Python raises where a value is used as what it is not.
_OF_ARGUMENTS = (TypeError, AttributeError, ValueError, InvalidError)
_IS_COROUTINE = 0x80  # inspect.CO_COROUTINE, which takes long to load


F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


def trimmed(function: F) -> F:
    """A function of ours that a program calls; what it raises shows the program's frames only."""
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _IS_COROUTINE:
        return _trimmed_coroutine(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            only(error, function, args, kwargs)
            raise

    call.__dict__["is_trimmed"] = True
    return cast(F, call)


def passing(function: F) -> F:
    """The same of one that does no more than call what the program gave: all errors are its own."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if not switches.asks_for_tracebacks():
                _trim(error, set())
            raise

    call.__dict__["is_trimmed"] = True
    return cast(F, call)


def trims_itself(function: F) -> F:
    """Mark one that does so: what it returns is in the program's hands at once.

    Behind a call by another function Python lets a signal's handler run, whose exception would lose
    what was returned: nobody would leave what was entered.
    """
    function.__dict__["is_trimmed"] = True
    return function


def _trimmed_coroutine(function: F) -> F:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            only(error, function, args, kwargs)
            raise

    return cast(F, call)


def trims(cls: C) -> C:
    """The same of all that a program may call of a class, but not of what it inherits."""
    for name, value in list(vars(cls).items()):
        if name.startswith("_") and name not in _OPERATORS:
            continue
        if getattr(value, "is_trimmed", False):
            continue
        if isinstance(value, FunctionType):
            made: object = trimmed(value)
        elif isinstance(value, (classmethod, staticmethod)):
            made = type(value)(trimmed(value.__func__))
        elif isinstance(value, property) and value.fget is not None:
            made = property(trimmed(value.fget), value.fset, value.fdel)
        else:
            continue
        setattr(cls, name, made)
    return cls


def only(
    error: BaseException,
    called: Callable[..., Any] | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Leave out our frames, and those of the standard library that we went through.

    For who is about to raise ``error`` once more to the program, by a bare ``raise``, which adds no
    frame. Of an error that is neither a function's nor of our own types nothing is left out: it may
    be a fault of ours, unless it is of the arguments with which the program ``called`` us. Ctrl-C
    is nobody's fault.
    """
    if called is not None and type(error) in _OF_ARGUMENTS:
        _check(error, called, args, kwargs or {})
    if switches.asks_for_tracebacks():
        return
    if _is_of_the_program(error) or _is_interrupt(error) or _is_remote(error):
        _trim(error, set())


def _is_interrupt(error: BaseException) -> bool:
    # As asyncio has Ctrl-C, by its name: to load it takes long.
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "CancelledError"


def _is_remote(error: BaseException) -> bool:
    from rekindle.wire.exceptions import remote_traceback

    return remote_traceback(error) is not None


def _check(
    error: BaseException, called: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Have an error say what is wrong with the arguments, where that is what it comes of."""
    from rekindle.sdk import argument_types

    text = argument_types.unbound(called, args)
    if text or _is_of_the_program(error):
        pass  # it says itself what is wrong
    elif _last_file(error.__traceback__) in _HAND_ON:
        text = argument_types.misfit(str(error), called, args)
    else:
        text = argument_types.wrong_type(called, args, kwargs)
    if text:
        error.args = (text,)
        if isinstance(error, AttributeError):
            error.name = error.obj = None  # Python would add names that are near
        of_the_program(error)


def _is_of_the_program(error: BaseException) -> bool:
    return isinstance(error, Error) or "is_of_the_program" in getattr(error, "__dict__", ())


def _trim(error: BaseException, seen: set[int]) -> None:
    """An error, and ours that it came of."""
    seen.add(id(error))
    error.__traceback__ = _of_the_program(error.__traceback__)
    cause, context = error.__cause__, error.__context__
    if cause is not None and id(cause) not in seen:
        _trim(cause, seen)
    if context is not None and context is not cause and not error.__suppress_context__:
        # What we tried before tells a program nothing; what it handles itself does.
        if _of_the_program(context.__traceback__) is None:
            error.__suppress_context__ = True
        elif _is_of_the_program(context) and id(context) not in seen:
            _trim(context, seen)


def _of_the_program(trace: TracebackType | None) -> TracebackType | None:
    """What is left of a traceback; what a program has us call (the iterator of a map) stays."""
    kept: list[TracebackType] = []
    behind_ours = False
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        # <string>: what dataclasses generate.
        standard = file == "<string>" or (file.startswith(_STDLIB) and "site-packages" not in file)
        behind_ours = file.startswith(_PACKAGE) or (behind_ours and standard)
        if not behind_ours:
            kept.append(trace)
        trace = trace.tb_next
    found: TracebackType | None = None
    for one in reversed(kept):
        found = TracebackType(found, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return found


def _last_file(trace: TracebackType | None) -> str:
    """But for the standard library's, through which calls are handed on, too."""
    last = ""
    while trace is not None:
        file, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
        if not file.startswith(_STDLIB) or "site-packages" in file:
            last = file
    return last
