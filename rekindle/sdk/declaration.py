"""A declaration: one function or class of an app, and the way from it to a function id.

In the program that declares it, it holds the user's code. Pickled, it is a handle: names and, for
code that travels with another function's code, the user's function too, so that ``.local`` works.
Standard library only: templates unpickle handles.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rekindle.exception import ExecutionError, NotFoundError
from rekindle.execution import context
from rekindle.execution.context import is_local
from rekindle.sdk import checks, environments, running
from rekindle.sdk.absent import SaysWhatToUse
from rekindle.wire import runner_variables
from rekindle.wire.environment import split_name

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.images.chain import Chain
    from rekindle.sdk.options import Options
    from rekindle.sdk.program.places import Place
    from rekindle.sdk.running import RunningApp
    from rekindle.sdk.secret import Secret
    from rekindle.sdk.volume import Volume
    from rekindle.sdk.volume_mounts import CloudBucketMount
    from rekindle.wire.class_parameters import ClassParameter
    from rekindle.wire.rekindle_pb2 import FunctionHandle

#: The app whose code is being pickled, if any: its handles then carry code and no ids.
packing: ContextVar[AppState | None] = ContextVar("rekindle_packing", default=None)


class AppState(SaysWhatToUse):
    """What is declared in an app, and what runs of it."""

    def __init__(
        self,
        name: str | None,
        secrets: tuple[Secret, ...],
        include_source: bool,
        volumes: Mapping[str, Volume | CloudBucketMount] = MappingProxyType({}),
        tags: dict[str, str] | None = None,
        image: Chain | None = None,
    ) -> None:
        self.name = name
        self.image = image
        self.tags = dict(tags or {})
        self.secrets = secrets
        self.volumes = volumes
        self.include_source = include_source
        self.declarations: dict[str, Declaration] = {}
        #: What ``run()`` made, while it runs.
        self.running: RunningApp | None = None
        #: Where it was deployed from here, or looked up.
        self.deployed: DeployedHere | None = None
        #: Apps that have all of it (``App.include``).
        self.included_in: list[AppState] = []
        #: The apps that it has all of, and theirs.
        self.parts: list[AppState] = []

    def runs_as(self) -> RunningApp | None:
        """What runs of it, by itself or as a part of another app."""
        if self.running is not None:
            return self.running
        return next((one.running for one in self.included_in if one.running is not None), None)

    def shares_a_whole_with(self, other: AppState | None) -> bool:
        """Whether both are parts of one app; True where it is not known of which the other is."""
        if other is None or other is self:
            return True
        return not {self, *self.included_in}.isdisjoint((other, *other.included_in))

    def whole(self) -> AppState:
        """The app as a part of which it runs or is deployed; itself where it is by itself."""
        for one in (self, *self.included_in):
            if one.running is not None or one.deployed is not None:
                return one
        return self

    def deployed_as(self) -> DeployedHere | None:
        """The same for what was deployed."""
        if self.deployed is not None:
            return self.deployed
        return next((one.deployed for one in self.included_in if one.deployed is not None), None)


class DeployedHere(NamedTuple):
    """A deployed app: its name, the instance, and the id that its version has or had."""

    name: str
    client: Client
    app_id: str
    #: What it was deployed with from here, at any time; None where it was looked up.
    declared: Collection[Declaration] | None = None


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
    by_name: bool = False  # a handle to a function of a deployed app
    environment: str = ""  # of that app; "": of whoever looks it up (sdk/environments.py)
    version: int = 0  # of that app; 0: the present one
    #: Methods ("" of a function) whose items come one by one; None where that is not known here.
    generators: frozenset[str] | None = None
    #: Of a class; None where that is not known here.
    parameters: tuple[ClassParameter, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        names = (self.app_name, self.name, self.kind, self.methods)
        if self.by_name:
            environment = environments.travelling(self.environment)
            where = ("", self.instance, True, self.version, self.generators, environment)
            return handle, (*names[:3], {}, *where)
        packed = packing.get()
        if self.app is not None and (packed is self.app or packed in self.app.included_in):
            from rekindle.sdk.program.places import portable

            made = (*names, "", "", False, 0, self.generators)
            return handle, made, portable(self.raw, serialized=self.serialized)
        if self.running is None and (deployed := self._deployed()) is not None:
            self._check_deployed()
            return deployed.__reduce__()  # which asks for nothing
        function_id, instance = self.function_id, self.instance
        if not function_id or self.running is not None:
            client, function_id, _ = self.resolve()
            instance = str(client.instance)
        known = (False, self.version, self.generators, "", self.parameters_at_hand())
        return handle, (*names, function_id, instance, *known)

    def __setstate__(self, raw: Any) -> None:
        self.raw = raw

    @property
    def running(self) -> RunningApp | None:
        """Its app, while that runs."""
        return self.app.runs_as() if self.app is not None else None

    @property
    def serialized(self) -> bool:
        """Whether its code is to travel by value."""
        return self.options is not None and self.options.serialized

    @property
    def volume_paths(self) -> list[str]:
        """Where its runners have volumes, as far as that is known here."""
        of_app = self.app.volumes if self.app is not None else {}
        own = self.options.volumes if self.options is not None else {}
        return [str(path) for path in {**of_app, **own}]

    @property
    def place(self) -> Place | None:
        """Where an import finds it; None where it travels by value."""
        from rekindle.sdk.program.places import place_of

        return place_of(self.raw, serialized=self.serialized)

    def resolve(self) -> tuple[Client, str, RunningApp | None]:
        """The client and the id to call it by. Raises ExecutionError where its app is not run."""
        app = self.running
        if app is not None:
            return app.client, app.function_id(self), app
        if self.by_name:
            client, found = self._found_now()
            return client, found.function_id, None
        if (deployed := self._deployed()) is not None:
            self._check_deployed()
            return deployed.resolve()
        if self.function_id:
            return running.client_of(self.instance), self.function_id, None
        if not is_local():
            if not (app_id := os.environ.get(runner_variables.APP_ID, "")):
                raise running.no_runner_yet(f"{self.name} cannot be called remotely")
            from rekindle.sdk.lookups import function_id_of

            return running.client_of(), function_id_of(app_id, self.name, running.client_of), None
        raise ExecutionError(
            f"{self.name} cannot be called remotely: its app {self.app_name!r} is not running. "
            f"Call it inside `with app.run():`, start the program with `rekindle run`, or deploy "
            f"it and use Function.from_name({self.app_name!r}, {self.name!r}); "
            f"`{self._local_call()}` calls it in this process{_in_child()}"
        )

    def _local_call(self) -> str:
        """How a program calls it without an app."""
        if self.kind == "cls":
            return f"{self.name}(...).{next(iter(self.methods), 'method')}.local(...)"
        return f"{self.name}.local(...)"

    def is_at_hand(self) -> bool:
        """Whether ``resolve`` answers, or raises, without asking a controller."""
        if self.running is not None:
            return self.running.knows(self) or not running.at_prompt()
        from rekindle.sdk import lookups

        if self.by_name:
            client, app_name = running.client_of(self.instance), self._deployed_name()
            return lookups.known(client, app_name, self.name, self.version) is not None
        if (deployed := self._deployed()) is not None:
            return deployed.is_at_hand()
        if self.function_id or is_local():
            return True
        return bool(lookups.known_id(os.environ.get(runner_variables.APP_ID, ""), self.name))

    def _deployed(self) -> Declaration | None:
        """The handle by name of what is called as a part of a deployed app, if this is."""
        app = self.app
        if app is None:
            return None
        if (here := app.deployed_as()) is not None:
            environment, name = split_name(here.name)
            return self._named(name, environment, str(here.client.instance))
        # In a runner: what its module imports of apps that are not its own, and code that refers
        # to them, mean what is deployed.
        elsewhere = not is_local() and not app.shares_a_whole_with(_own_app())
        if app.name and (elsewhere or (environments.travels_as_code() and is_local())):
            return self._named(app.name, environments.meant_by(""), "")
        return None

    def _check_deployed(self) -> None:
        """Refuse what was declared since its app was deployed: the former code would run."""
        here = self.app.deployed_as() if self.app is not None else None
        if here is None or here.declared is None or self in here.declared:
            return
        name = split_name(here.name)[1]
        again = any(one.name == self.name for one in here.declared)
        what = "has its former code" if again else "does not have it"
        raise ExecutionError(
            f"{self.name} was declared {'again ' * again}after the app {name!r} was deployed here, "
            f"which {what}: app.deploy() makes this its next version, `with app.run():` runs it "
            f"without, `{self._local_call()}` calls it in this process, and "
            f"rekindle.{self.kind.capitalize()}.from_name({name!r}, {self.name!r}) is what is "
            f"deployed"
        )

    def _named(self, app_name: str, environment: str, instance: str) -> Declaration:
        return Declaration(
            *(app_name, self.name, self.kind),
            instance=instance,
            by_name=True,
            environment=environment,
            generators=self.generators,
        )

    def _deployed_name(self) -> str:
        """Of its app, where this is a handle by name."""
        return environments.app_in(self.environment or None, self.app_name)

    @property
    def lies_in(self) -> str:
        """The environment of its app. Raises InvalidError."""
        if self.app is not None:
            here = self.app.runs_as() or self.app.deployed_as()
            if here is not None:
                return split_name(here.name)[0]
        return environments.meant_by(self.environment)

    def _found(self, client: Client, app_name: str) -> FunctionHandle:
        from rekindle.sdk.lookups import find

        found = find(client, app_name, self.name, self.version)
        if found.kind != self.kind:
            what = f"{self.name} of the app {app_name!r}"
            if found.kind == "cls":
                raise NotFoundError(f"{what} is a class: rekindle.Cls.from_name(...)")
            raise NotFoundError(f"{what} is a function: rekindle.Function.from_name(...)")
        return found

    def methods_at_hand(self) -> Collection[str] | None:
        """Names of its methods; None where a controller would have to be asked."""
        return None if self.by_name else self.methods

    def methods_now(self) -> dict[str, str]:
        """Its methods, asked for where they have to be. Raises NotFoundError, ConnectionError."""
        if not self.by_name:
            return self.methods
        _, found = self._found_now()
        return {name: name for name in found.methods}

    def check_method(self, name: str) -> None:
        """Refuse what is no method of the class. Raises NotFoundError; asks where it has to."""
        if not self.by_name:
            return  # whoever made the handle knew them
        _, found = self._found_now()
        if name not in found.methods and self.look_again():
            _, found = self._found_now()
        if name not in found.methods:
            there = ", ".join(found.methods) or "none"
            known = checks.nearest(name, found.methods) or f" (methods: {there})"
            raise NotFoundError(f"{self.name} has no method {name!r}{known}")

    def parameters_at_hand(self) -> tuple[ClassParameter, ...] | None:
        """What an instance is given; None where that is not known, or would have to be asked."""
        if self.parameters is None and self.kind == "cls" and self.raw is not None:
            from rekindle.sdk import class_parameters

            self.parameters = class_parameters.declared(self.raw)
        return self.parameters

    def parameters_now(self) -> tuple[ClassParameter, ...] | None:
        """The same, asked for where it has to be. Raises NotFoundError, ConnectionError."""
        if not self.by_name:
            return self.parameters_at_hand()
        from rekindle.wire.messages import parameters_of

        _, found = self._found_now()
        return parameters_of(found.parameters)

    def look_again(self) -> bool:
        """Whether a newer version may have what this one lacks: it is asked for anew then."""
        if not self.by_name or self.version:
            return False
        from rekindle.sdk import lookups

        client, found = self._found_now()
        lookups.forget(client, found.function_id)
        return True

    def _found_now(self) -> tuple[Client, FunctionHandle]:
        """What this handle by name stands for now, and who said so."""
        client = running.client_of(self.instance)
        return client, self._found(client, self._deployed_name())

    @property
    def pinned(self) -> bool:
        """Whether its calls are of just the version that it names, or that this runner is of."""
        if self.version or self.by_name or self._deployed() is not None:
            return self.version > 0
        return not is_local() and not self.function_id and self.running is None

    def __repr__(self) -> str:
        return f"{self.app_name}/{self.name}" if self.app_name else self.name


def _own_app() -> AppState | None:
    """Of what this runner runs; None where its code came by value, or this is no runner."""
    declaration = getattr(context.runs(), "_declaration", None)
    return declaration.app if isinstance(declaration, Declaration) else None


def handle(
    app_name: str,
    name: str,
    kind: str,
    methods: dict[str, str],
    function_id: str = "",
    instance: str = "",
    by_name: bool = False,
    version: int = 0,
    generators: frozenset[str] | None = None,
    environment: str = "",
    parameters: tuple[ClassParameter, ...] | None = None,
) -> Declaration:
    """What a pickled declaration becomes where it is unpickled."""
    return Declaration(
        *(app_name, name, kind, methods),
        function_id=function_id,
        instance=running.arrived_from(instance),
        by_name=by_name,
        version=version,
        generators=generators,
        environment=environment,
        parameters=parameters,
    )


def named(
    app_name: str, name: str, kind: str, version: int | None, environment: str | None
) -> Declaration:
    """A handle to what a deployed app declares. Raises InvalidError for what can be no name."""
    checks.name("the app name", app_name)
    checks.name("the name", name)
    if version is not None:
        checks.number("version", version, 1, None, whole=True)
    return Declaration(
        *(app_name, name, kind),
        by_name=True,
        version=version or 0,
        environment=environments.declared(environment),
    )


def _in_child() -> str:
    """For an error: that this process is one of multiprocessing's, where it is."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is None or processes.parent_process() is None:
        return ""
    return (
        ". This is a subprocess that multiprocessing has started, which has imported the program "
        "again: an app runs in the process that started it, so make the call there"
    )
