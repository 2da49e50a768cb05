"""Which code travels by value (cloudpickle) and which by name.

By value: ``__main__``, the script of ``rekindle run``, and whatever cannot be found by name
(lambdas, functions in functions). The same rule as cloudpickle's, so that what is fingerprinted is
what is shipped. Standard library only, until cloudpickle is loaded by whoever pickles.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

#: Modules that travel by value besides ``__main__``: scripts that ``rekindle run`` loaded.
_scripts: dict[str, str] = {}  # name -> file


def register_script(module: ModuleType) -> None:
    """Let everything that ``module`` defines travel by value."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    _scripts[module.__name__] = module.__file__ or ""


def script_file() -> str | None:
    """The file that this program was started from; None at a prompt."""
    if _scripts:
        return next(reversed(_scripts.values()))
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return file if isinstance(file, str) else None


def is_by_value(module_name: str | None) -> bool:
    """Whether what the module defines travels by value."""
    if module_name is None or module_name == "__main__" or module_name in _scripts:
        return True
    if module_name not in sys.modules:
        return True
    if "cloudpickle" not in sys.modules:
        return False
    import cloudpickle

    registered = cloudpickle.list_registry_pickle_by_value()
    parts = module_name.split(".")
    return any(".".join(parts[:i]) in registered for i in range(1, len(parts) + 1))


def is_by_reference(value: Any) -> bool:
    """Whether a function or class can be, and is, sent as a name."""
    module_name = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if not isinstance(module_name, str) or name is None or is_by_value(module_name):
        return False
    return found_at(module_name, name) is value


def found_at(module_name: str, qualified_name: str) -> Any:
    """What is at ``module.qualified.name`` now; None where there is nothing."""
    target: Any = sys.modules.get(module_name)
    for part in qualified_name.split("."):
        target = getattr(target, part, None)
    return target
