"""The decorators of functions whose inputs share a runner: ``concurrent`` and ``batched``.

They note on the function or class what they were given and leave it as it is; ``@app.function()``
and ``@app.cls()`` above them read it. Standard library only.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from rekindle.exception import InvalidError
from rekindle.execution.declared import (
    MARK,
    Decorated,
    Mark,
    Sharing,
    is_generator,
    mark_of,
    share,
    sharing_of,
)
from rekindle.sdk import checks
from rekindle.sdk.hooks import method_handle
from rekindle.sdk.options import Options

T = TypeVar("T")

MOST_INPUTS = 1000
MOST_BATCH = 1000
MOST_WAIT_MS = 600_000


def concurrent(
    *no_parentheses: Any, max_inputs: int, target_inputs: int | None = None
) -> Callable[[T], T]:
    """Let a runner have several inputs at a time: ``@rekindle.concurrent(max_inputs=20)``.

    Under ``@app.function()`` or ``@app.cls()``. Inputs of a sync function run in threads, so it
    must be thread-safe; those of an async one are tasks of one event loop. ``target_inputs`` (by
    default ``max_inputs``): with more than so many for each runner another one is started; until it
    is there, each takes up to ``max_inputs``. Raises InvalidError.
    """
    checks.parentheses("@rekindle.concurrent", no_parentheses)
    sharing = concurrency("@rekindle.concurrent", max_inputs, target_inputs)

    def decorate(raw: T) -> T:
        _check(raw, "@rekindle.concurrent()")
        if not inspect.isclass(raw) and (_in_class(raw) or mark_of(raw) is not None):
            raise InvalidError(
                f"@rekindle.concurrent() is on {getattr(raw, '__qualname__', raw)}, a method: the "
                f"inputs of all methods share the runners; put it on the class, under @app.cls()"
            )
        if is_generator(raw):
            raise InvalidError(
                f"@rekindle.concurrent() is on {getattr(raw, '__qualname__', raw)}, a generator: "
                f"a generator has a runner for itself; return a list instead"
            )
        share(raw, sharing)
        return raw

    return decorate


def batched(
    *no_parentheses: Any, max_batch_size: int, wait_ms: int
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Collect inputs into batches: ``@rekindle.batched(max_batch_size=64, wait_ms=20)``.

    Under ``@app.function()``, or on the one method of a class. Callers pass single items; the
    function is called once for a batch, with a list for each parameter, and returns a list of the
    same length. A batch begins when it is full, or when its oldest item has waited ``wait_ms``
    milliseconds. Raises InvalidError.
    """
    checks.parentheses("@rekindle.batched", no_parentheses)
    sharing = batching("@rekindle.batched", max_batch_size, wait_ms)

    # What callers give and get is an item, not a list, and has no name here.
    def decorate(raw: Callable[..., Any]) -> Callable[..., Any]:
        _check(raw, "@rekindle.batched()")
        if inspect.isclass(raw):
            raise InvalidError(
                f"@rekindle.batched() is on class {raw.__name__}: put it on its method"
            )
        _check_batched(raw)
        share(raw, sharing)
        if _in_class(raw) and mark_of(raw) is None:
            setattr(raw, MARK, Mark("method", handle=method_handle))
        return raw

    return decorate


def concurrency(where: str, max_inputs: int, target_inputs: int | None) -> Sharing:
    """Checked. Raises InvalidError."""
    checks.number(f"{where}(max_inputs)", max_inputs, 1, MOST_INPUTS, whole=True)
    target = max_inputs if target_inputs is None else target_inputs
    checks.number(f"{where}(target_inputs)", target, 1, MOST_INPUTS, whole=True)
    if target > max_inputs:
        raise InvalidError(
            f"{where}(target_inputs={target}) must not be more than max_inputs={max_inputs}"
        )
    return Sharing(max_inputs, target)


def batching(where: str, max_batch_size: int, wait_ms: int) -> Sharing:
    """Checked. Raises InvalidError."""
    checks.number(f"{where}(max_batch_size)", max_batch_size, 1, MOST_BATCH, whole=True)
    checks.number(f"{where}(wait_ms)", wait_ms, 0, MOST_WAIT_MS, "of milliseconds", whole=True)
    return Sharing(max_batch_size=max_batch_size, wait_ms=wait_ms)


def shared(raw: Any, options: Options, methods: Iterable[str] = ()) -> Options:
    """The options of a function or class with what its decorators say. Raises InvalidError."""
    name = raw.__qualname__
    found = sharing_of(raw)
    for method in methods:
        of_method = sharing_of(inspect.getattr_static(raw, method))
        if of_method is None:
            continue
        if found is not None:
            raise InvalidError(
                f"{name} has @rekindle.concurrent() and {method} has @rekindle.batched(): "
                f"a runner has one batch at a time; leave one of them out"
            )
        others = sorted(set(methods) - {method})
        if others:
            raise InvalidError(
                f"{name}.{method} has @rekindle.batched(), so it must be the only method of its "
                f"class, which has {', '.join(others)} too: put those into another class"
            )
        found = of_method
    if found is None:
        return options
    if options.spec.single_use_containers:
        raise InvalidError(
            f"{name} has single_use_containers=True, a runner for each input: it cannot be batched "
            f"or concurrent too"
        )
    return dataclasses.replace(options, spec=dataclasses.replace(options.spec, **found._asdict()))


def _check(raw: Any, decorator: str) -> None:
    if isinstance(raw, Decorated):
        raise InvalidError(
            f"{decorator} is above the @app decorator of {raw!r}: swap the order, the @app "
            f"decorator comes first"
        )
    if not inspect.isclass(raw) and not inspect.isfunction(raw):
        raise InvalidError(f"{decorator} is on {raw!r}: it must be on a function or a class")
    if sharing_of(raw) is not None:
        raise InvalidError(
            f"{decorator} is on {raw.__qualname__}, which is batched or concurrent already: a "
            f"function can be one of them"
        )


def _check_batched(raw: Any) -> None:
    name = raw.__qualname__
    if is_generator(raw):
        raise InvalidError(
            f"@rekindle.batched() is on {name}, a generator: it must return a list, with a value "
            f"for each item"
        )
    mark = mark_of(raw)
    if mark is not None and mark.kind != "method":
        raise InvalidError(f"@rekindle.batched() is on {name}, which is marked {mark.kind!r}")
    parameters = list(inspect.signature(raw).parameters.values())[1 if _in_class(raw) else 0 :]
    if not parameters:
        raise InvalidError(f"@rekindle.batched() is on {name}, which has no parameter for items")
    for one in parameters:
        if one.default is not one.empty:
            raise InvalidError(
                f"@rekindle.batched() is on {name}, whose parameter {one.name!r} has a default: "
                f"each gets a list with a value of every item, so leave the default out"
            )
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            raise InvalidError(
                f"@rekindle.batched() is on {name}, which takes {one}: each of its parameters is a "
                f"list; name them"
            )


def _in_class(raw: Any) -> bool:
    parents = raw.__qualname__.split(".")[:-1]
    return bool(parents) and parents[-1] != "<locals>"
