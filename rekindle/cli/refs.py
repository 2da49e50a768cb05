"""From ``FILE::f``, ``FILE::app.f``, ``FILE::Cls.method`` or ``-m MODULE::f`` to what it names."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from rekindle.cli import programs
from rekindle.cli.app_refs import apps_in
from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk.app import App
from rekindle.sdk.checks import nearest
from rekindle.sdk.cls import Cls
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.sdk.function import Function

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem


class Target(NamedTuple):
    """What a reference names: an entrypoint, a function, or a class and its method."""

    app: App  # that is run for it
    name: str  # that the app has it by
    what: LocalEntrypoint | Function[..., Any] | Cls
    method: str = ""  # of a Cls


class Runnable(NamedTuple):
    """One thing of a program that can be run, and how it may be called.

    Where the program's apps include one another, several have it.
    """

    target: Target  # by itself
    variables: tuple[str, ...]  # of the module: f, Cls.method
    apps: dict[str, App]  # by their variables, in the module

    @property
    def in_apps(self) -> dict[str, App]:
        """By the variables of the apps: app.f, app.Cls.method."""
        return {f"{variable}.{self.target.name}": app for variable, app in self.apps.items()}

    @property
    def shown(self) -> str:
        """The name that a user is told."""
        return (*self.variables, *self.in_apps)[0]

    @property
    def kind(self) -> str:
        what = self.target.what
        if isinstance(what, LocalEntrypoint):
            return "local entrypoint"
        return "method" if isinstance(what, Cls) else "function"


def resolve(reference: str, *, is_module: bool = False, entrypoints: bool = True) -> Target:
    """Load the program and find what is named, or the one thing that can be meant.

    Without a name: the only local entrypoint, else the only function, else the only method; the
    same within an app that is named. Raises InvalidError and NotFoundError with the candidates and
    the nearest name.
    """
    loaded = programs.load(reference, is_module=is_module)
    where, name = loaded.where, loaded.name
    found = runnables_in(loaded.module, entrypoints=entrypoints)
    if not found and is_module and (main := programs.main_of(loaded)) is not None:
        found = runnables_in(main.module, entrypoints=entrypoints)
    if not found:
        raise NotFoundError(
            f"{where} declares nothing to run: no function, class or local entrypoint of an App"
        )
    return _named(found, name, where) if name else _whole(_only(found, where), where)


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell offers for a reference; the file is not run."""
    from rekindle.cli import completion

    return completion.reference(incomplete)


def runnables_in(module: ModuleType, *, entrypoints: bool = True) -> list[Runnable]:
    """What the apps of a module declare, and what stands in it of other apps; each once."""
    found: dict[tuple[int, str], Runnable] = {}
    for variable, app in apps_in(module).items():
        for target in _declared_in(app):
            found.setdefault(_key(target), Runnable(target, (), {})).apps[variable] = app
    for variable, value in vars(module).items():
        for target in _targets_of(value):
            known = found.get(_key(target), Runnable(target, (), {}))
            own = f"{variable}.{target.method}" if target.method else variable
            found[_key(target)] = known._replace(variables=(*known.variables, own))
    return [
        one
        for one in found.values()
        if entrypoints or not isinstance(one.target.what, LocalEntrypoint)
    ]


def _key(target: Target) -> tuple[int, str]:
    what = target.what
    return id(what if isinstance(what, LocalEntrypoint) else what._declaration), target.method


def _declared_in(app: App) -> list[Target]:
    found = [Target(app, name, one) for name, one in app.entrypoints.items()]
    for what in app.registered.values():
        found += _targets_in(app, what)
    return found


def _targets_of(value: object) -> list[Target]:
    """Of a variable: nothing where it is a handle by name, or a variant (with_options)."""
    if isinstance(value, LocalEntrypoint) and isinstance(value.app, App):
        return [Target(value.app, value.name, value)]
    if isinstance(value, Function | Cls) and isinstance(app := value._declaration.app, App):
        declared = value._declaration
        if app.declarations.get(declared.name) is declared:
            return _targets_in(app, value)
    return []


def _targets_in(app: App, what: Function[..., Any] | Cls) -> list[Target]:
    name = what._declaration.name
    if isinstance(what, Cls):
        return [Target(app, f"{name}.{one}", what, one) for one in what._declaration.methods]
    return [Target(app, name, what)]


class _Call(NamedTuple):
    """One way to call a runnable; ``app``: that is to be run, where it is said."""

    name: str
    what: Runnable
    app: App | None = None

    def target(self, where: str) -> Target:
        if self.app is not None:
            return self.what.target._replace(app=self.app)
        return _whole(self.what, where)


def _calls(found: list[Runnable]) -> list[list[_Call]]:
    """All of them, what goes first first: what stands in the module is what its variables say."""
    return [
        [_Call(name, one) for one in found for name in one.variables],
        [_Call(name, one, app) for one in found for name, app in one.in_apps.items()],
        [_Call(one.target.name, one) for one in found],  # given by name=
    ]


def _named(found: list[Runnable], name: str, where: str) -> Target:
    calls = _calls(found)
    for same in calls:
        if hits := [one for one in same if one.name == name]:
            return _single(hits, where, f"{where} has several {name}")
    if within := [one for one in found if name in one.apps]:
        app = within[0].apps[name]
        return _Call(name, _only(within, where, f"{where}::{name}"), app).target(where)
    for same in calls:  # a class with one method
        if hits := [one for one in same if one.what.target.method and _class_of(one.name) == name]:
            return _single(hits, where, f"{name} has several methods")
    near = nearest(name, [one.name for same in calls for one in same])
    raise NotFoundError(f"{where} has no {name!r}{near}{_listing(found, where)}")


def _single(hits: list[_Call], where: str, several: str) -> Target:
    """Raises InvalidError where it is not the only one."""
    if len(hits) > 1:
        listed = _listing([one.what for one in hits], where)
        raise InvalidError(f"{several}; name one:{listed}")
    return hits[0].target(where)


def _class_of(name: str) -> str:
    return name.rpartition(".")[0]


def _whole(one: Runnable, where: str) -> Target:
    """With the app that it is run in: of those of the program, the one that includes the others.

    Raises InvalidError where several do.
    """
    apps = {id(app): app for app in one.apps.values()}.values()
    whole = [app for app in apps if not any(other in app.included_in for other in apps)]
    if len(whole) > 1:
        names = "".join(f"\n  {where}::{own}" for own in one.in_apps)
        raise InvalidError(
            f"{one.shown} is in several apps; name it by the one that is to be run:{names}"
        )
    return one.target._replace(app=whole[0]) if whole else one.target


def _only(found: list[Runnable], where: str, within: str = "") -> Runnable:
    for kind in ("local entrypoint", "function", "method"):
        of_kind = [one for one in found if one.kind == kind]
        if len(of_kind) == 1:
            return of_kind[0]
        if of_kind:
            raise InvalidError(
                f"{within or where} has several {kind}s; say which one to run:"
                f"{_listing(of_kind, where)}"
            )
    raise NotFoundError(f"{within or where} has nothing to run")


def _listing(found: list[Runnable], where: str) -> str:
    return "".join(f"\n  {where}::{one.shown}  ({one.kind})" for one in found)
