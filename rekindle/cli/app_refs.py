"""From ``FILE``, ``FILE::app`` or ``-m MODULE`` to the app that is to be deployed."""

from __future__ import annotations

from types import ModuleType

from rekindle.cli import programs
from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk.app import App
from rekindle.sdk.checks import nearest


def resolve(reference: str, *, is_module: bool) -> App:
    """Load the program; its app of that name, or the one that can be meant.

    That is the variable ``app``, else the only App that there is. Of a package whose apps declare
    nothing it is its ``__main__``, as of ``rekindle run``. Raises InvalidError, NotFoundError, and
    what the user's code raises.
    """
    loaded = programs.load(reference, is_module=is_module)
    where, name = loaded.where, loaded.name
    found = apps_in(loaded.module)
    if is_module and not any(_declares(one) for one in found.values()):
        main = programs.main_of(loaded)
        found |= apps_in(main.module) if main is not None else {}
    if name:
        if name in found:
            return found[name]
        known = ", ".join(found) or "none"
        raise NotFoundError(
            f"{where} has no App {name!r}{nearest(name, found) or f' (there is: {known})'}"
        )
    if "app" in found:
        return found["app"]
    apps = list({id(value): value for value in found.values()}.values())
    if len(apps) == 1:
        return apps[0]
    if not apps:
        raise NotFoundError(f'{where} has no App: write `app = rekindle.App("name")`')
    raise InvalidError(
        f"{where} has several apps; say which one: "
        + ", ".join(f"{where}::{key}" for key in sorted(found))
    )


def apps_in(module: ModuleType) -> dict[str, App]:
    """By their variables; one that has two is there twice."""
    return {key: value for key, value in vars(module).items() if isinstance(value, App)}


def _declares(app: App) -> bool:
    return bool(app.declarations or app.entrypoints)
