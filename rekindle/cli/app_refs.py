"""From ``FILE``, ``FILE::app`` or ``-m MODULE`` to the app that is to be deployed."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

from rekindle.cli import refs
from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk.app import App
from rekindle.sdk.checks import nearest
from rekindle.sdk.program import main_module


def resolve(reference: str, *, is_module: bool) -> App:
    """Load the file or module; its app of that name, or the one that can be meant.

    That is the variable ``app``, else the only App that there is. Raises InvalidError,
    NotFoundError, and what the user's code raises.
    """
    if is_module:
        where, _, name = reference.partition("::")
        module = _load_module(where)
    else:
        file, name = refs.split(reference)
        where, module = file.name, refs.load_script(file)
    found = {key: value for key, value in vars(module).items() if isinstance(value, App)}
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


def _load_module(name: str) -> ModuleType:
    """Import it as Python does with ``-m``: from the working directory, too."""
    if name.endswith(".py") or os.sep in name:
        raise InvalidError(f"-m {name}: write a module, as in package.module; a file needs no -m")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise NotFoundError(f"there is no module {error.name!r} (looked in {here} too)") from None
    if module.__file__:
        main_module.loaded_script(module, Path(module.__file__).absolute())
    return module
