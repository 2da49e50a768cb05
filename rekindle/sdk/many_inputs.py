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
    mark_of,
    share,
    sharing_of,
)
from rekindle.sdk import checks
from rekindle.sdk.hooks import method_handle
from rekindle.sdk.many_inputs_checks import batching, check_batched, concurrency, in_class
from rekindle.sdk.options import Options
from rekindle.sdk.user_frames import trimmed

T = TypeVar("T")


@trimmed
def concurrent(
    *no_parentheses: Any, max_inputs: int, target_inputs: int | None = None
) -> Callable[[T], T]:
    """Let a runner have several inputs at a time: ``@rekindle.concurrent(max_inputs=20)``.

    Under ``@app.function()`` or ``@app.cls()``. Inputs of a sync function run in threads, so it
    must be thread-safe; those of an async one are tasks of one event loop; generators likewise,
    each at the pace of its reader. ``target_inputs`` (by
    default ``max_inputs``): with more than so many for each runner another one is started; until it
    is there, each takes up to ``max_inputs``. Raises InvalidError.
    """
    checks.parentheses("@rekindle.concurrent", no_parentheses)
    sharing = concurrency("@rekindle.concurrent", max_inputs, target_inputs)

    @trimmed
    def decorate(raw: T) -> T:
        _check(raw, "@rekindle.concurrent()")
        if not inspect.isclass(raw) and (in_class(raw) or mark_of(raw) is not None):
            raise InvalidError(
                f"@rekindle.concurrent() is on {getattr(raw, '__qualname__', raw)}, a method: the "
                f"inputs of all methods share the runners; put it on the class, under @app.cls()"
            )
        share(raw, sharing)
        return raw

    return decorate


@trimmed
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
    @trimmed
    def decorate(raw: Callable[..., Any]) -> Callable[..., Any]:
        _check(raw, "@rekindle.batched()")
        if inspect.isclass(raw):
            raise InvalidError(
                f"@rekindle.batched() is on class {raw.__name__}: put it on its method"
            )
        check_batched(raw)
        share(raw, sharing)
        if in_class(raw) and mark_of(raw) is None:
            setattr(raw, MARK, Mark("method", handle=method_handle))
        return raw

    return decorate


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
