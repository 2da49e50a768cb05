"""rekindle: a self-hosted, cold-start-focused runtime for Python functions.

Names are loaded on first use: templates and runners import this package too, and every module
loaded there is time and memory that each user pays.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rekindle.wire.version import __version__

if TYPE_CHECKING:
    from rekindle.execution.context import current_function_call_id as current_function_call_id
    from rekindle.execution.context import current_input_id as current_input_id
    from rekindle.execution.context import is_local as is_local
    from rekindle.sdk.app import App as App
    from rekindle.sdk.cls import Cls as Cls
    from rekindle.sdk.function import Function as Function
    from rekindle.sdk.function_call import FunctionCall as FunctionCall
    from rekindle.sdk.hooks import enter as enter
    from rekindle.sdk.hooks import exit as exit
    from rekindle.sdk.hooks import method as method
    from rekindle.sdk.hooks import parameter as parameter
    from rekindle.sdk.resources import Retries as Retries
    from rekindle.sdk.resources import Secret as Secret
    from rekindle.sdk.running import enable_output as enable_output

#: Public name -> module that defines it.
_HOME_OF = {
    "App": "rekindle.sdk.app",
    "Cls": "rekindle.sdk.cls",
    "Function": "rekindle.sdk.function",
    "FunctionCall": "rekindle.sdk.function_call",
    "Retries": "rekindle.sdk.resources",
    "Secret": "rekindle.sdk.resources",
    "current_function_call_id": "rekindle.execution.context",
    "current_input_id": "rekindle.execution.context",
    "enable_output": "rekindle.sdk.running",
    "enter": "rekindle.sdk.hooks",
    "exit": "rekindle.sdk.hooks",
    "is_local": "rekindle.execution.context",
    "method": "rekindle.sdk.hooks",
    "on_restore": "rekindle.runtime.runner.unique",
    "parameter": "rekindle.sdk.hooks",
}

__all__ = ["__version__", "exception", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name == "exception":
        return importlib.import_module("rekindle.exception")
    if name not in _HOME_OF:
        later = importlib.import_module("rekindle.sdk.unsupported").attribute(name)
        if later is not None:
            error = importlib.import_module("rekindle.exception").UnknownNameError(later)
            error.name = name
            raise error
        raise AttributeError(f"module 'rekindle' has no attribute {name!r}", name=name)
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
