"""Methods that call methods of their own class remotely: ``self.other.remote(x)``.

In a runner, the methods of its one object get the ways to be called that they have outside; the
mark of a method gives its handle, which is made when it is used. Plain calls, ``self.other(x)``,
stay plain calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from rekindle.execution.declared import mark_of

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


class _Way:
    """One way to call a method: ``remote``, say, with its ``aio``."""

    def __init__(self, make: Callable[[str], Any], way: str) -> None:
        self._make = make
        self._way = way

    @cached_property
    def _remote(self) -> Any:
        return getattr(self._make(os.environ.get("REKINDLE_APP", "")), self._way)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._remote(*args, **kwargs)

    @property
    def aio(self) -> Any:
        """The asyncio form."""
        return self._remote.aio

    def __repr__(self) -> str:
        return repr(self._remote)
