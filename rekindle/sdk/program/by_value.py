"""Which code travels by value (cloudpickle) and which by name.

By value: what no import can find. That is all of ``__main__`` at a prompt, in a notebook and under
``python -c``; functions in functions, lambdas; what stands under ``if __name__ == "__main__"``. The
same rule as the pickler's (wire/pickling.py), so that what is fingerprinted is what is shipped.
Standard library only, until cloudpickle is loaded by whoever pickles.
"""

from __future__ import annotations

import sys
from typing import Any

from rekindle.sdk.program import main_module


def is_by_value(module_name: str | None) -> bool:
    """Whether what the module defines travels by value."""
    if module_name is None or module_name not in sys.modules:
        return True
    if module_name == "__main__":
        return main_module.current() is None
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
    if is_only_here(module_name, name):
        return False
    return found_at(module_name, name) is value


def is_only_here(module_name: str, name: str) -> bool:
    """Whether it is defined where a runner does not run the program: under its guard."""
    known = main_module.current()
    if known is None or module_name != known.here:
        return False
    return name.split(".")[0] in main_module.guarded(known.file).names


def found_at(module_name: str, qualified_name: str) -> Any:
    """What is at ``module.qualified.name`` now; None where there is nothing."""
    target: Any = sys.modules.get(module_name)
    for part in qualified_name.split("."):
        target = getattr(target, part, None)
    return target


def name_in_runners(module_name: str) -> str:
    """The name of a module in a runner."""
    known = main_module.current()
    return known.name if known is not None and module_name == known.here else module_name
