"""Methods that call methods of their own class remotely: ``self.other.remote(x)``.

In a runner, the methods of its one object get the ways to be called that they have outside; each
finds its function id when it is used. Plain calls, ``self.other(x)``, stay plain calls. Imports
nothing until then: templates load this.
"""

from __future__ import annotations

import os
from typing import Any

_WAYS = ("remote", "spawn", "map", "starmap", "for_each", "spawn_map")


def offer(made: Any, name: str, methods: dict[str, str], parameters: dict[str, Any]) -> None:
    """Let the ``methods`` (public name -> attribute) of the object be called remotely.

    ``name`` and ``parameters``: of its class.
    """
    own = _Class(name, methods, parameters)
    for public, attribute in methods.items():
        bound = getattr(made, attribute)
        # What a bound method has not, its function has; and a runner has one object to bind to.
        given = vars(bound.__func__)
        for way in _WAYS:
            given.setdefault(way, _Way(own, public, way))
        given.setdefault("local", bound)


class _Class:
    """The class of a runner's object, as a handle to it."""

    def __init__(self, name: str, methods: dict[str, str], parameters: dict[str, Any]) -> None:
        self.name = name
        self.methods = methods
        self.parameters = parameters
        self._instance: Any = None

    def method(self, public: str) -> Any:
        """One of its methods, as a Function."""
        if self._instance is None:
            from rekindle.sdk.cls import Cls, Instance
            from rekindle.sdk.declaration import Declaration

            app = os.environ.get("REKINDLE_APP", "")
            declaration = Declaration(app, self.name, "cls", self.methods)
            self._instance = Instance(Cls(declaration), self.parameters)
        return getattr(self._instance, public)


class _Way:
    """One way to call a method: ``remote``, say, with its ``aio``."""

    __slots__ = ("_class", "_public", "_way")

    def __init__(self, own: _Class, public: str, way: str) -> None:
        self._class = own
        self._public = public
        self._way = way

    def _found(self) -> Any:
        return getattr(self._class.method(self._public), self._way)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._found()(*args, **kwargs)

    @property
    def aio(self) -> Any:
        """The asyncio form."""
        return self._found().aio

    def __repr__(self) -> str:
        return f"<{self._class.name}.{self._public}.{self._way}; also .aio>"
