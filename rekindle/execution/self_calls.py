"""Methods that call methods of their own class remotely: ``self.other.remote(x)``.

In a runner, the methods of its one object get the ways to be called that they have outside; the
mark of a method gives its handle, which is made when it is used. An object that ``.local()`` works
on gets them for itself, as there may be several of a class. Plain calls, ``self.other(x)``, stay
plain calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property, partial, update_wrapper
from types import FunctionType, MethodType
from typing import Any

from rekindle.execution.declared import mark_of
from rekindle.wire import runner_variables

_WAYS = ("remote", "remote_gen", "spawn", "map", "starmap", "for_each", "spawn_map")


def offer(made: Any, name: str, methods: dict[str, str], parameters: dict[str, Any]) -> None:
    """Let the ``methods`` (public name -> attribute) of the object be called remotely.

    ``name`` and ``parameters``: of its class.
    """
    for public, attribute in methods.items():
        bound = getattr(made, attribute)
        mark = mark_of(bound)
        # What a bound method has not, its function has; and a runner has one object to bind to.
        given = vars(bound.__func__)
        given.setdefault("local", bound)
        if mark is not None and mark.handle is not None:
            make = partial(mark.handle, name, methods, parameters, public)
            for way in _WAYS:
                given.setdefault(way, _Way(make, way))


def offer_on(made: Any, methods: dict[str, str], handle: Callable[[str], Any]) -> None:
    """The same of just this object, by what ``handle`` gives for a public name.

    Its methods are copies of their functions, so that other objects of the class keep theirs.
    """
    if not hasattr(made, "__dict__"):
        return  # a class with __slots__ has no place for them
    for public, attribute in methods.items():
        bound = getattr(made, attribute)
        function = bound.__func__
        copy = FunctionType(
            *(function.__code__, function.__globals__, function.__name__),
            *(function.__defaults__, function.__closure__),
        )
        copy.__kwdefaults__ = function.__kwdefaults__
        update_wrapper(copy, function)
        del copy.__dict__["__wrapped__"]
        given = vars(copy)
        given["local"] = bound
        make = partial(_of_this_process, handle, public)
        given |= {way: _Way(make, way) for way in _WAYS}
        vars(made)[attribute] = MethodType(copy, made)


def _of_this_process(handle: Callable[[str], Any], public: str, _app: str) -> Any:
    return handle(public)


class _Way:
    """One way to call a method: ``remote``, say, with its ``aio``."""

    def __init__(self, make: Callable[[str], Any], way: str) -> None:
        self._make = make
        self._way = way

    @cached_property
    def _remote(self) -> Any:
        return getattr(self._make(os.environ.get(runner_variables.APP, "")), self._way)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._remote(*args, **kwargs)

    @property
    def aio(self) -> Any:
        """The asyncio form."""
        return self._remote.aio

    def __repr__(self) -> str:
        return repr(self._remote)
