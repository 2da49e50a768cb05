"""App: functions and classes that are declared together. Standard library only.

What the decorators do is check and note; code is looked at when the app is run.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from rekindle.exception import InvalidError
from rekindle.execution.context import is_local
from rekindle.execution.declared import Decorated, generators_of, hooks_of
from rekindle.sdk import checks, environments, loop_warning, monkey_patched, options, running
from rekindle.sdk.app_life import AppLife
from rekindle.sdk.cls import Cls, check_class
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.dual import Dual, in_thread
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.sdk.function import Function
from rekindle.sdk.function_checks import check_function, check_takes_nothing
from rekindle.sdk.many_inputs import shared
from rekindle.sdk.options import FunctionOptions
from rekindle.sdk.secret import Secret, check_secrets
from rekindle.sdk.user_frames import trimmed, trims

if TYPE_CHECKING:
    from rekindle.sdk.images.image import Image
    from rekindle.sdk.volume import Volume
    from rekindle.sdk.volume_mounts import CloudBucketMount

P = ParamSpec("P")
R = TypeVar("R")


@trims
class App(AppLife):
    """A group of functions and classes that run together.

    ``name``: up to 64 letters, digits and ``. _ -``; without one, the program's file names a run of
    it, and to be deployed or served it is to be given one. ``secrets`` and ``volumes``: given to
    all its functions, before their own. ``image``: what those without an image of their own run in.
    ``include_source=False``: local modules are not shipped; the node must have them. ``tags``:
    names and values, each up to 63 letters, digits and ``. _ -``, that its deployments have.
    Raises InvalidError, MonkeyPatchedError.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        secrets: Sequence[Secret] | None = None,
        volumes: Mapping[str, Volume | CloudBucketMount] | None = None,
        include_source: bool = True,
        tags: dict[str, str] | None = None,
        image: Image | None = None,
        **unknown: Any,
    ) -> None:
        if is_local():  # in a runner it does no harm
            monkey_patched.refuse("a rekindle.App")
        known = ("name", "secrets", "volumes", "include_source", "tags", "image")
        checks.unknown_keywords("App()", unknown, known)
        if name is not None:
            checks.app_name(name)
        checks.flag("include_source", include_source)
        super().__init__(
            *(name, check_secrets("secrets", secrets), include_source),
            options.check_volumes(volumes),
            checks.tags(tags),
            options.check_image(image),
        )
        self.registered: dict[str, Function[..., Any] | Cls] = {}
        self.entrypoints: dict[str, LocalEntrypoint] = {}

    def __repr__(self) -> str:
        return f"<rekindle.App {self.name or '(no name)'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # In a runner an App is a name: functions that mention it do not carry it along.
        return App, (self.name,)

    # ---- declaring -----------------------------------------------------------------------------

    def function(
        self,
        *no_parentheses: Any,
        name: str | None = None,
        is_generator: bool | None = None,
        **given: Unpack[FunctionOptions],
    ) -> FunctionDecorator:
        """Make a function of this app: it can be called with ``.remote()`` and its like.

        ``timeout``: seconds that one input may run, 1 to 86,400 (default 300); its runner is killed
        after it (with ``@concurrent``, the input is interrupted first).
        ``startup_timeout``: the same for the start of a runner (default: ``timeout``).
        ``min_containers``: runners that are kept; ``max_containers``: that there may be;
        ``buffer_containers``: idle ones to keep while inputs come; ``spare_containers``: children
        of the template that are forked and wait for a start (default: the pool's policy decides; 0:
        none). ``scaledown_window``: seconds that an idle runner is kept, 2 to 3,600 (default 60).
        ``single_use_containers``: one input each. ``enable_memory_snapshot``: start from a snapshot
        of the template. ``enable_gpu_snapshot``: of a runner after its GPU hooks, too, where the
        driver can; off by default, also spelled ``experimental_options={"enable_gpu_snapshot":
        True}``. ``retries``: how often a failed input runs again. ``cpu`` in cores,
        ``memory`` in MiB; each may be a pair of request and limit (all are checked and recorded, no
        runner is held to them yet).
        ``gpu``: GPUs that each runner has, as in ``"H100"``, ``"A100-80GB:2"``, ``"any"``, or a
        list of such, the best first; ``gpu_memory``: a share of one GPU instead, in MiB;
        ``gpu_priority``: -100 to 100 (default 0), who has more may take the GPU of who has less;
        ``gpu_spares``: so many of its spares hold a GPU that nobody needs, and have its context.
        ``env`` and ``secrets``: environment variables; what ``env`` says is in the function's
        snapshot, secrets are in none unless they allow it.
        ``is_generator``: its items come one by one, with ``.remote_gen()``; True for what returns
        an iterator (a function with ``yield`` is known for one).
        ``volumes``: paths at which its runners have a ``rekindle.Volume`` or ``CloudBucketMount``.
        ``serialized``: the code travels by value, with the values that it mentions, and its
        module is not imported.
        ``image``: the ``rekindle.Image`` that it runs in (default: the app's, else the node's own
        packages).
        ``schedule``: a ``rekindle.Cron`` or ``rekindle.Period`` by which a deployed app runs it,
        without arguments.

        Raises InvalidError that names the parameter, the value and what is allowed, and TypeError
        for a keyword that does not exist.
        """
        checks.parentheses("@app.function", no_parentheses)
        checked = options.check("@app.function()", given)
        if name is not None:
            checks.name("the function name", name)
            if "." in name:
                raise InvalidError(
                    f"the function name {name!r} must not have a dot: it is no method"
                )
        return FunctionDecorator(self, name, checked, is_generator)

    def cls(
        self,
        *no_parentheses: Any,
        **given: Unpack[FunctionOptions],
    ) -> Callable[[type], Any]:
        """Make a class of this app: its ``@rekindle.method()``s can be called remotely.

        Options as for ``function``. Runners are set up by its ``@rekindle.enter()`` methods; it
        must have no ``__init__``: values come through ``rekindle.parameter()``. All methods share
        the runners of an instance. Raises InvalidError and TypeError as ``function`` does.
        """
        checks.parentheses("@app.cls", no_parentheses)
        checked = options.check("@app.cls()", given)

        @trimmed
        def decorate(raw: type) -> Cls:
            if isinstance(raw, Decorated):
                raise InvalidError(f"@app.cls() is on {raw!r}, which is decorated already")
            if not inspect.isclass(raw):
                raise InvalidError(
                    f"@app.cls() is on {raw!r}, which is no class; use @app.function()"
                )
            checks.name("the class name", raw.__name__)
            if checked.schedule is not None:
                raise InvalidError(
                    f"@app.cls(schedule=...) is on {raw.__name__}: only a function has a schedule"
                )
            check_class(raw)
            found = hooks_of(raw)
            if found["enter_snap"] and not checked.spec.enable_memory_snapshot:
                raise InvalidError(
                    f"{raw.__name__}.{found['enter_snap'][0]} has @rekindle.enter(snap=True), "
                    f"which needs @app.cls(enable_memory_snapshot=True)"
                )
            fits = shared(raw, checked, found["methods"])
            generators = generators_of(raw, found["methods"])
            declaration = self._declare(
                raw, raw.__name__, "cls", fits, found["methods"], generators
            )
            made = Cls(declaration)
            self._register(declaration, made)
            return made

        return decorate

    def local_entrypoint(
        self, *no_parentheses: Any, name: str | None = None
    ) -> Callable[[Callable[..., Any]], LocalEntrypoint]:
        """Mark what ``rekindle run`` starts in the caller's process; its arguments are options.

        Sync or async. Raises InvalidError for a name that is taken.
        """
        checks.parentheses("@app.local_entrypoint", no_parentheses)

        @trimmed
        def decorate(raw: Callable[..., Any]) -> LocalEntrypoint:
            if not inspect.isfunction(raw):
                raise InvalidError(f"@app.local_entrypoint() is on {raw!r}: it must be a function")
            own = name if name is not None else raw.__name__
            checks.name("the entrypoint name", own)
            if own in self.entrypoints or own in self.declarations:
                raise InvalidError(f"app {self.name!r} has {own!r} already; give name=")
            entrypoint = LocalEntrypoint(raw, own, self)
            self.entrypoints[own] = entrypoint
            return entrypoint

        return decorate

    def _declare(
        self,
        raw: Any,
        name: str,
        kind: str,
        checked: options.Options,
        methods: dict[str, str],
        generators: frozenset[str],
    ) -> Declaration:
        what = f"{name}.{min(generators)}" if generators and kind == "cls" else name
        if generators and checked.spec.max_batch_size:
            raise InvalidError(
                f"{what} is a generator, which cannot be batched: leave the decorator out, or put "
                f"the generator into a class of its own"
            )
        if generators and checked.spec.retries is not None:
            # Not ignored for it alone: runners of what has them are lent to nobody.
            apart = "put it into a class of its own" if kind == "cls" else "leave retries= out"
            raise InvalidError(
                f"{what} is a generator, which cannot have retries=: items of a run that fails "
                f"are with its caller already. Call it again from there, and {apart}"
            )
        taken = self.declarations.get(name)
        # At a prompt, or in a notebook, a cell that runs again declares again.
        redone = running.at_prompt() or not is_local()
        again = taken is not None and taken.kind == kind and _is_same_name(taken.raw, raw)
        if name in self.entrypoints or (taken is not None and not (redone or again)):
            another = "rename the class" if kind == "cls" else "give @app.function(name=...)"
            raise InvalidError(
                f"app {self.name!r} has {name!r} already: names of functions, classes and "
                f"entrypoints must differ; {another}"
            )
        if again and not redone:
            loop_warning.Place.of_caller().warn(
                f"app {self.name!r} has a {kind} {name!r} already, of the same name in the same "
                f"module: this one takes its place",
                UserWarning,
            )
        declaration = Declaration(
            *(self.name or "", name, kind, methods),
            raw=raw,
            options=checked,
            app=self,
            generators=generators,
        )
        for whole in (self, *self.included_in):
            if whole is self or whole.declarations.get(name) is taken is not None:
                whole.declarations[name] = declaration
        if is_local() and redone and (made := self.runs_as()) is not None:
            made.pending[name] = declaration
        return declaration

    def _register(self, declaration: Declaration, made: Function[..., Any] | Cls) -> None:
        """Have what was made of a declaration by its name, as a part of other apps, too."""
        for whole in (self, *self.included_in):
            if isinstance(whole, App) and whole.declarations.get(declaration.name) is declaration:
                whole.registered[declaration.name] = made

    # ---- others ----------------------------------------------------------------------------------

    def include(self, other_app: App, inherit_tags: bool = True) -> App:
        """Have all that another app declares in this one as well; this app.

        With ``inherit_tags`` also its tags, where this one has none of that name. Raises
        InvalidError where both have a name.
        """
        checks.flag("app.include(inherit_tags)", inherit_tags)
        other = other_app
        if not isinstance(other, App):
            raise InvalidError(f"app.include({other!r}): it must be a rekindle.App")
        for name, declaration in other.declarations.items():
            if self.declarations.get(name, declaration) is not declaration:
                raise InvalidError(
                    f"app {self.name!r} has {name!r} already, and so has {other.name!r}, which it "
                    f"is to include: give one of them another name"
                )
        self.declarations |= other.declarations
        self.registered |= other.registered
        for part in (other, *other.parts):  # a part of a part is run in the whole, too
            if self not in part.included_in:
                part.included_in.append(self)
                self.parts.append(part)
        if inherit_tags:
            self.tags = {**other.tags, **self.tags}
        return self

    #: ``lookup(name, *, create_if_missing=False, environment_name=None)``: a deployed app by its
    #: name; an empty one, or NotFoundError, where there is none.
    lookup: Dual[..., App, Awaitable[App]]


def _is_same_name(one: Any, other: Any) -> bool:
    """Whether what was declared first is not to be reached by its own name any more."""
    names = [(raw.__module__, raw.__qualname__) for raw in (one, other)]
    return names[0] == names[1] and "<locals>" not in names[0][1]


@trims
class FunctionDecorator:
    """What ``@app.function(...)`` applies to the function below it."""

    def __init__(
        self, app: App, name: str | None, checked: options.Options, is_generator: bool | None
    ) -> None:
        self._app = app
        self._name = name
        self._options = checked
        self._is_generator = is_generator

    @overload
    def __call__(self, raw: Callable[P, Coroutine[Any, Any, R]]) -> Function[P, R]: ...
    @overload
    def __call__(self, raw: Callable[P, AsyncIterator[R] | Iterator[R]]) -> Function[P, R]: ...
    @overload
    def __call__(self, raw: Callable[P, R]) -> Function[P, R]: ...
    def __call__(self, raw: Callable[..., Any]) -> Function[..., Any]:
        check_function(raw)
        name = self._name or raw.__name__
        checks.name("the function name", name)
        generators = checks.generator("@app.function", raw, self._is_generator)
        if self._options.schedule is not None:
            check_takes_nothing(raw)
            if generators:
                raise InvalidError(f"{name} is a generator, which no schedule= can run")
        checked = shared(raw, self._options)
        declaration = self._app._declare(
            raw, name, "function", checked, {}, frozenset({""} if generators else ())
        )
        made: Function[..., Any] = Function(declaration)
        self._app._register(declaration, made)
        return made


def lookup(
    name: str,
    *,
    create_if_missing: bool = False,
    environment_name: str | None = None,
    client: None = None,
) -> App:
    """A deployed app by its name; an empty one, or NotFoundError, where there is none."""
    from rekindle.sdk import deploying

    checks.of_this_instance("App.lookup", client=client)
    made = App(name)
    known_as = environments.app_in(environment_name, name)
    made.deployed, made.tags = deploying.look_up(known_as, create_if_missing=create_if_missing)
    return made


lookup.__qualname__ = "App.lookup"  # as what it is called by
App.lookup = in_thread(lookup)
