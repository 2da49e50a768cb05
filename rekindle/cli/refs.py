"""From ``FILE::f``, ``FILE::Cls.method`` or ``-m MODULE::f`` to what it names."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from rekindle.cli import programs
from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk.app import App
from rekindle.sdk.checks import nearest
from rekindle.sdk.cls import Cls
from rekindle.sdk.decorated import Declared
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.sdk.function import Function

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem


class Target(NamedTuple):
    """What a reference names: an entrypoint, a function, or a class and its method."""

    app: App
    name: str
    what: LocalEntrypoint | Function[..., Any] | Cls
    method: str = ""  # of a Cls


def resolve(reference: str, *, is_module: bool = False, entrypoints: bool = True) -> Target:
    """Load the program and find what is named, or the one thing that can be meant.

    Without a name: the only local entrypoint, else the only function, else the only method.
    Raises InvalidError and NotFoundError with the candidates and the nearest name.
    """
    loaded = programs.load(reference, is_module=is_module)
    where, name = loaded.where, loaded.name
    candidates = targets_in(loaded.module, entrypoints=entrypoints)
    if not candidates and is_module and (main := programs.main_of(loaded)) is not None:
        candidates = targets_in(main.module, entrypoints=entrypoints)
    if not candidates:
        raise NotFoundError(
            f"{where} declares nothing to run: no function, class or local entrypoint of an App"
        )
    return _named(candidates, name, where) if name else _only(candidates, where)


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell offers for a reference; the file is not run."""
    from rekindle.cli import completion

    return completion.reference(incomplete)


def targets_in(module: ModuleType, *, entrypoints: bool = True) -> list[Target]:
    """Everything that the apps of a module declare."""
    apps: dict[int, App] = {}
    for value in vars(module).values():
        if isinstance(value, App):
            apps[id(value)] = value
        elif isinstance(value, Declared) and isinstance(value._declaration.app, App):
            apps[id(value._declaration.app)] = value._declaration.app
        elif isinstance(value, LocalEntrypoint) and isinstance(value.app, App):
            apps[id(value.app)] = value.app
    found: list[Target] = []
    for app in apps.values():
        if entrypoints:
            found += [Target(app, e.name, e) for e in app.entrypoints.values()]
        for name, what in app.registered.items():
            if isinstance(what, Cls):
                methods = what._declaration.methods
                found += [Target(app, f"{name}.{method}", what, method) for method in methods]
            else:
                found.append(Target(app, name, what))
    return found


def _kind(target: Target) -> str:
    if isinstance(target.what, LocalEntrypoint):
        return "local entrypoint"
    return "method" if isinstance(target.what, Cls) else "function"


def _named(candidates: list[Target], name: str, where: str) -> Target:
    exact = [c for c in candidates if c.name == name]
    if not exact and "." in name:  # app.f, app.Cls.method
        exact = [c for c in candidates if c.name == name.split(".", 1)[1]]
    if not exact:  # a class with one method
        exact = [c for c in candidates if c.method and c.name.split(".")[0] == name]
        if len(exact) > 1:
            raise InvalidError(f"{name} has several methods; name one:{_listing(exact, where)}")
    if exact:
        return exact[0]
    near = nearest(name, [c.name for c in candidates])
    raise NotFoundError(f"{where} has no {name!r}{near}{_listing(candidates, where)}")


def _only(candidates: list[Target], where: str) -> Target:
    for kind in ("local entrypoint", "function", "method"):
        of_kind = [c for c in candidates if _kind(c) == kind]
        if len(of_kind) == 1:
            return of_kind[0]
        if of_kind:
            raise InvalidError(
                f"{where} has several {kind}s; say which one to run:{_listing(of_kind, where)}"
            )
    raise NotFoundError(f"{where} has nothing to run")


def _listing(candidates: list[Target], where: str) -> str:
    return "".join(f"\n  {where}::{c.name}  ({_kind(c)})" for c in candidates)
