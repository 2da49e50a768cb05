"""A declaration: one function or class of an app, and the way from it to a function id.

In the program that declares it, it holds the user's code. Pickled, it is a handle: names and, for
code that travels with another function's code, the user's function too, so that ``.local`` works.
Standard library only: templates unpickle handles.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rekindle.exception import ExecutionError
from rekindle.execution.context import is_local
from rekindle.execution.declared import Decorated
from rekindle.sdk import running

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.options import Options
    from rekindle.sdk.program.places import Place
    from rekindle.sdk.running import RunningApp
    from rekindle.sdk.secret import Secret
    from rekindle.sdk.volume import Volume
    from rekindle.sdk.volume_mounts import CloudBucketMount

#: The app whose code is being pickled, if any: its handles then carry code and no ids.
packing: ContextVar[AppState | None] = ContextVar("rekindle_packing", default=None)


class AppState:
    """What is declared in an app, and what runs of it."""

    def __init__(
        self,
        name: str | None,
        secrets: tuple[Secret, ...],
        include_source: bool,
        volumes: Mapping[str, Volume | CloudBucketMount] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.secrets = secrets
        self.volumes = volumes
        self.include_source = include_source
        self.declarations: dict[str, Declaration] = {}
        #: What ``run()`` made, while it runs.
        self.running: RunningApp | None = None


@dataclass(eq=False)
class Declaration:
    """One function or class of an app, as declared or as a handle to it."""

    app_name: str
    name: str
    kind: str  # "function" | "cls"
    methods: dict[str, str] = field(default_factory=dict)  # public name -> attribute, of a cls
    raw: Any = None  # the user's function or class; None in a handle without code
    options: Options | None = None
    app: AppState | None = None
    function_id: str = ""  # of a handle that was pickled while its app ran
    instance: str = ""  # the instance directory that knows the id
    #: Methods ("" of a function) whose items come one by one; None where that is not known here.
    generators: frozenset[str] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        names = (self.app_name, self.name, self.kind, self.methods)
        if self.app is not None and packing.get() is self.app:
            from rekindle.sdk.program.places import portable

            made = (*names, "", "", self.generators)
            return _handle, made, portable(self.raw, serialized=self.serialized)
        function_id, instance = self.function_id, self.instance
        if self.running is not None or not (function_id or is_local()):
            client, function_id, _ = self.resolve()
            instance = str(client.instance)
        return _handle, (*names, function_id, instance, self.generators)

    def __setstate__(self, raw: Any) -> None:
        self.raw = raw

    @property
    def running(self) -> RunningApp | None:
        """Its app, while that runs."""
        return self.app.running if self.app is not None else None

    @property
    def serialized(self) -> bool:
        """Whether its code is to travel by value."""
        return self.options is not None and self.options.serialized

    @property
    def place(self) -> Place | None:
        """Where an import finds it; None where it travels by value."""
        from rekindle.sdk.program.places import place_of

        return place_of(self.raw, serialized=self.serialized)

    def resolve(self) -> tuple[Client, str, RunningApp | None]:
        """The client and the id to call it by. Raises ExecutionError where its app is not run."""
        app = self.running
        if app is not None:
            return app.client, app.function_id(self.name), app
        if self.function_id:
            return running.client_of(self.instance), self.function_id, None
        app_id = os.environ.get("REKINDLE_APP_ID", "")
        if not is_local() and app_id:
            return running.client_of(), _lookup(app_id, self.name), None
        raise ExecutionError(
            f"{self.name} cannot be called remotely: its app {self.app_name!r} is not running. "
            f"Call it inside `with app.run():`, or start the program with `rekindle run`; "
            f"`{self.name}.local(...)` calls it in this process"
        )

    def __repr__(self) -> str:
        return f"{self.app_name}/{self.name}" if self.app_name else self.name


class Declared(Decorated):
    """What a decorator makes of a declaration: the base of Function and Cls."""

    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration

    @property
    def undecorated(self) -> Any:
        """The function or class of the user; None where only a handle to it is here."""
        return self._declaration.raw

    @property
    def name(self) -> str:
        """``f``, or the name of the class."""
        return self._declaration.name

    @property
    def __name__(self) -> str:
        return self._declaration.name

    @property
    def object_id(self) -> str:
        """The function id. Raises ExecutionError where its app is not running."""
        return self._declaration.resolve()[1]

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"<rekindle.{kind} {self.name} of app {self._declaration.app_name!r}>"


def _handle(
    app_name: str,
    name: str,
    kind: str,
    methods: dict[str, str],
    function_id: str = "",
    instance: str = "",
    generators: frozenset[str] | None = None,
) -> Declaration:
    return Declaration(
        app_name,
        name,
        kind,
        methods,
        function_id=function_id,
        instance=instance,
        generators=generators,
    )


@functools.cache
def _lookup(app_id: str, name: str) -> str:
    from rekindle.sdk.connection.background import background

    return background().run(running.client_of().lookup(app_id, name))
