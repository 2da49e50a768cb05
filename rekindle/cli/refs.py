"""From ``FILE``, ``FILE::f`` or ``FILE::Cls.method`` to what it names."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk.app import App
from rekindle.sdk.checks import nearest
from rekindle.sdk.cls import Cls
from rekindle.sdk.declaration import Declared
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.sdk.function import Function
from rekindle.sdk.program import main_module

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem


@dataclass(frozen=True, eq=False)
class Target:
    """What a reference names: an entrypoint, a function, or a class and its method."""

    app: App
    name: str
    what: LocalEntrypoint | Function[..., Any] | Cls
    method: str = ""  # of a Cls


def resolve(reference: str, *, entrypoints: bool = True) -> Target:
    """Load the file and find what is named, or the one thing that can be meant.

    Without a name: the only local entrypoint, else the only function, else the only method.
    Raises InvalidError and NotFoundError with the candidates and the nearest name.
    """
    file, name = split(reference)
    module = load_script(file)
    candidates = targets_in(module, entrypoints=entrypoints)
    if not candidates:
        raise NotFoundError(
            f"{file} declares nothing to run: no function, class or local entrypoint of an App"
        )
    return _named(candidates, name, file) if name else _only(candidates, file)


def split(reference: str) -> tuple[Path, str]:
    """File and name of a reference. Raises InvalidError for other forms."""
    file, colons, name = reference.partition("::")
    if not colons and ":" in reference and not Path(reference).exists():
        before, _, after = reference.partition(":")
        raise InvalidError(f"{reference!r}: write two colons, {before}::{after}")
    if not file.strip("."):
        raise InvalidError(f"{reference!r} names no file: write FILE.py or FILE.py::NAME")
    path = Path(file)
    if not path.is_file():
        hint = ""
        dotted = Path(*file.split(".")).with_suffix(".py")
        if not file.endswith(".py") and dotted.is_file():
            hint = f"; did you mean {dotted}?"
        elif path.parent.is_dir():
            hint = nearest(path.name, [p.name for p in path.parent.glob("*.py")])
        raise NotFoundError(f"there is no file {file}{hint}")
    if path.suffix != ".py":
        raise InvalidError(f"{file} is not a Python file (.py)")
    return path.absolute(), name


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell offers for a reference; the file is not run."""
    from rekindle.cli import completion

    return completion.reference(incomplete)


def load_script(file: Path) -> ModuleType:
    """Import the file as the module that it is in runners, too. Raises what its code raises."""
    name = main_module.own_name(file)
    if name in sys.modules:
        name = f"rekindle_script_{name}"  # loaded before
    # Links are followed for the directory alone, as Python does it: __file__ is as given.
    _make_neighbours_importable(file.resolve().parent, first=name == file.stem)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    main_module.loaded_script(module, file)
    spec._initializing = True  # type: ignore[attr-defined]  # app.run() refuses to run meanwhile
    try:
        spec.loader.exec_module(module)
    finally:
        spec._initializing = False  # type: ignore[attr-defined]
    return module


def _make_neighbours_importable(directory: Path, *, first: bool) -> None:
    """Before installed packages, as Python does, but behind the standard library.

    Not ``first`` where the script has the name of what is installed: it is not to hide that.
    """
    if str(directory) in sys.path:
        return
    if not first:
        sys.path.append(str(directory))
        return
    for i, entry in enumerate(sys.path):
        if "site-packages" in entry or "dist-packages" in entry:
            sys.path.insert(i, str(directory))
            return
    sys.path.append(str(directory))


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


def _named(candidates: list[Target], name: str, file: Path) -> Target:
    exact = [c for c in candidates if c.name == name]
    if not exact and "." in name:  # app.f, app.Cls.method
        exact = [c for c in candidates if c.name == name.split(".", 1)[1]]
    if not exact:  # a class with one method
        exact = [c for c in candidates if c.method and c.name.split(".")[0] == name]
        if len(exact) > 1:
            raise InvalidError(f"{name} has several methods; name one:{_listing(exact, file)}")
    if exact:
        return exact[0]
    near = nearest(name, [c.name for c in candidates])
    raise NotFoundError(f"{file.name} has no {name!r}{near}{_listing(candidates, file)}")


def _only(candidates: list[Target], file: Path) -> Target:
    for kind in ("local entrypoint", "function", "method"):
        of_kind = [c for c in candidates if _kind(c) == kind]
        if len(of_kind) == 1:
            return of_kind[0]
        if of_kind:
            raise InvalidError(
                f"{file.name} has several {kind}s; say which one to run:{_listing(of_kind, file)}"
            )
    raise NotFoundError(f"{file.name} has nothing to run")


def _listing(candidates: list[Target], file: Path) -> str:
    return "".join(f"\n  {file.name}::{c.name}  ({_kind(c)})" for c in candidates)
