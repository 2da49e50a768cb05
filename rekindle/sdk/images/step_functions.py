"""``Image.run_function``: what can be such a step, and how the function travels.

By value, for an image with the program's Python; where an import finds it, by name too, with the
local modules of the program: another Python imports it from these. What names it is in
function_digest.py. Standard library only, until it is pickled.
"""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from rekindle.exception import InvalidError, RequestSizeError, SerializationError, a_or_an
from rekindle.execution import annotated
from rekindle.execution.declared import Decorated
from rekindle.sdk.images import function_digest, local_files
from rekindle.wire.images import (
    CALL_FILE,
    FUNCTION_FILE,
    SOURCE_FILE,
    LocalFiles,
    Step,
    StepKind,
)

#: Pickled, with its arguments.
MAX_BYTES = 2 << 20


def check(raw: Any) -> None:
    """Refuse what cannot be a step. Raises InvalidError."""
    if isinstance(raw, Decorated):
        raise InvalidError(
            f"Image.run_function({raw!r}): give a plain function, without @app.function()"
        )
    if inspect.iscoroutinefunction(raw) or inspect.isasyncgenfunction(raw):
        raise InvalidError(f"Image.run_function({raw!r}): give a function that is not async")
    if inspect.isgeneratorfunction(raw):
        raise InvalidError(
            f"Image.run_function({raw!r}): it is a generator, of which nothing runs when it is "
            f"called; give a function without yield, which may go through this one"
        )
    if not inspect.isfunction(raw):
        kind = "a class" if isinstance(raw, type) else a_or_an(type(raw))
        raise InvalidError(
            f"Image.run_function({raw!r}): it is {kind}; give a function that is written with def, "
            f"which calls it, and what it is called with as args= and kwargs="
        )
    if raw.__name__ == "<lambda>":
        raise InvalidError("Image.run_function(lambda): write a function with a name")


def check_arguments(raw: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Raises InvalidError for what no function, or not this one, can be called with."""
    if not isinstance(args, Sequence) or isinstance(args, (str, bytes)):
        raise InvalidError(f"Image.run_function(args={args!r}) must be a list, as in args=[1, 2]")
    named = kwargs is None or isinstance(kwargs, Mapping)
    if not named or not all(isinstance(one, str) for one in kwargs or ()):
        raise InvalidError(
            f"Image.run_function(kwargs={kwargs!r}) must be a dict of arguments by their names"
        )
    takes = annotated.signature(raw)
    try:
        takes.bind(*args, **(kwargs or {}))
    except TypeError as error:
        raise InvalidError(
            f"Image.run_function({raw.__qualname__}): {raw.__name__}{takes} cannot be called with "
            f"these args= and kwargs=: {error}"
        ) from error


def step(
    raw: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], plain: Step
) -> Step:
    """The step. Raises SerializationError, and RequestSizeError where it carries too much data."""
    import cloudpickle

    try:
        with _by_value(raw.__module__):
            data: bytes = cloudpickle.dumps((raw, args, kwargs))
    except Exception as error:  # of a user's __reduce__, too
        raise SerializationError(
            f"Image.run_function({raw.__qualname__}): it cannot be pickled with its arguments and "
            f"the globals that it mentions: {error}"
        ) from error
    if len(data) > MAX_BYTES:
        raise RequestSizeError(
            f"Image.run_function({raw.__qualname__}): it takes {len(data) / (1 << 20):.1f} MiB "
            f"with its arguments and the globals that it mentions, over {MAX_BYTES >> 20} MiB; "
            f"add large data with add_local_file(..., copy=True)"
        )
    assert isinstance(raw, FunctionType)  # checked when it was declared
    # Pickles of one function differ from run to run: its file has the name of what it says.
    kept = local_files.keep_bytes(data, FUNCTION_FILE, raw.__qualname__)
    return dataclasses.replace(
        plain,
        kind=StepKind.CALL,
        arguments={
            **plain.arguments,
            "function": function_digest.digest(raw, args, kwargs),
            "python": "{}.{}".format(*sys.version_info),
        },
        files=(dataclasses.replace(kept, digest=""), *_by_name(raw, args, kwargs)),
    )


def _by_name(
    raw: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[LocalFiles, ...]:
    """For another Python: where an import finds it, its arguments, and the program's modules; empty
    where none finds it, or that cannot be sent."""
    from rekindle.sdk.program import main_module, places, source
    from rekindle.wire.serialization import serialize

    program = main_module.current()
    place = places.place_of(raw)
    if place is None:
        return ()
    try:
        bundle = source.collect(program)
    except RequestSizeError:  # one with the program's Python needs none of it
        return ()
    if bundle is None or place.module not in bundle.modules:
        return ()
    values = serialize((args, kwargs), f"the arguments of {raw.__qualname__}")
    call = pickle.dumps((place.module, place.name, values), protocol=5)
    kept = (
        local_files.keep_bytes(call, CALL_FILE, raw.__qualname__),
        local_files.keep_bytes(bundle.data, SOURCE_FILE, place.module),
    )
    return tuple(dataclasses.replace(one, digest="") for one in kept)


@contextmanager
def _by_value(module: str) -> Iterator[None]:
    """Have what a module defines travel as code: the image need not have the module."""
    import cloudpickle

    found = sys.modules.get(module)
    already = found is None or module in cloudpickle.list_registry_pickle_by_value()
    if already or module == "__main__":
        yield
        return
    try:
        cloudpickle.register_pickle_by_value(found)
        yield
    finally:
        if module in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.unregister_pickle_by_value(found)
