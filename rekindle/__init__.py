"""rekindle: a self-hosted, cold-start-focused runtime for Python functions.

Names are loaded on first use: templates and runners import this package too, and every module
loaded there is time and memory that each user pays.
"""

from __future__ import annotations

import importlib
import sys

from rekindle.wire.version import __version__

TYPE_CHECKING = False  # not typing's, which takes longer to load than all that is here
if TYPE_CHECKING:
    from typing import Any

    from rekindle.exception import Error as Error
    from rekindle.execution.context import current_function_call_id as current_function_call_id
    from rekindle.execution.context import current_input_id as current_input_id
    from rekindle.execution.context import is_local as is_local
    from rekindle.runtime.runner.unique import on_restore as on_restore
    from rekindle.sdk.app import App as App
    from rekindle.sdk.cls import Cls as Cls
    from rekindle.sdk.environment import Environment as Environment
    from rekindle.sdk.file_patterns import FilePatternMatcher as FilePatternMatcher
    from rekindle.sdk.function import Function as Function
    from rekindle.sdk.function_call import FunctionCall as FunctionCall
    from rekindle.sdk.hooks import enter as enter
    from rekindle.sdk.hooks import exit as exit
    from rekindle.sdk.hooks import method as method
    from rekindle.sdk.hooks import parameter as parameter
    from rekindle.sdk.images.image import Image as Image
    from rekindle.sdk.interact import interact as interact
    from rekindle.sdk.many_inputs import batched as batched
    from rekindle.sdk.many_inputs import concurrent as concurrent
    from rekindle.sdk.objects.dict import Dict as Dict
    from rekindle.sdk.objects.queue import Queue as Queue
    from rekindle.sdk.resources import Retries as Retries
    from rekindle.sdk.running import enable_output as enable_output
    from rekindle.sdk.schedules import Cron as Cron
    from rekindle.sdk.schedules import Period as Period
    from rekindle.sdk.secret import Secret as Secret
    from rekindle.sdk.volume import Volume as Volume
    from rekindle.sdk.volume_mounts import CloudBucketMount as CloudBucketMount
    from rekindle.volumes.tree import FileEntry as FileEntry
    from rekindle.volumes.tree import FileEntryType as FileEntryType

if "t" in sys.abiflags:  # every process of rekindle comes by here
    raise ImportError(
        f"rekindle does not run on a free-threaded build of Python, as {sys.executable} is: its "
        "forks and snapshots count on the interpreter's lock. Use the usual build"
    )

#: Module -> public names that it defines.
_HOMES = {
    "rekindle.exception": ("Error",),
    "rekindle.execution.context": ("current_function_call_id", "current_input_id", "is_local"),
    "rekindle.runtime.runner.unique": ("on_restore",),
    "rekindle.sdk.app": ("App",),
    "rekindle.sdk.cls": ("Cls",),
    "rekindle.sdk.environment": ("Environment",),
    "rekindle.sdk.file_patterns": ("FilePatternMatcher",),
    "rekindle.sdk.function": ("Function",),
    "rekindle.sdk.function_call": ("FunctionCall",),
    "rekindle.sdk.hooks": ("enter", "exit", "method", "parameter"),
    "rekindle.sdk.images.image": ("Image",),
    "rekindle.sdk.interact": ("interact",),
    "rekindle.sdk.objects.dict": ("Dict",),
    "rekindle.sdk.objects.queue": ("Queue",),
    "rekindle.sdk.resources": ("Retries",),
    "rekindle.sdk.running": ("enable_output",),
    "rekindle.sdk.schedules": ("Cron", "Period"),
    "rekindle.sdk.secret": ("Secret",),
    "rekindle.sdk.volume": ("Volume",),
    "rekindle.sdk.volume_mounts": ("CloudBucketMount",),
    "rekindle.volumes.tree": ("FileEntry", "FileEntryType"),
    "rekindle.sdk.many_inputs": ("batched", "concurrent"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", "exception", "gpu", *_HOME_OF]


class _MissingModules:
    """What Python asks last for a module: of some it is to be said what to use instead."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        if not name.startswith("rekindle."):
            return
        error = importlib.import_module("rekindle.sdk.absent").missing_module(name)
        if error is None:
            return
        try:
            raise error
        except ImportError:  # raised once more, it shows no frame of ours
            importlib.import_module("rekindle.sdk.user_frames").only(error)
            raise


sys.meta_path.append(_MissingModules)


def __getattr__(name: str) -> Any:
    if name in ("exception", "gpu"):
        return importlib.import_module(f"rekindle.{name}")
    if name not in _HOME_OF:
        finder = importlib.import_module("importlib.machinery").PathFinder
        if finder.find_spec(f"rekindle.{name}", __path__) is not None:
            raise AttributeError(name)  # `from rekindle import name`: a module, which is loaded now
        error = importlib.import_module("rekindle.sdk.absent").missing_of_package(name, __all__)
        try:
            raise error
        except (AttributeError, ImportError):  # raised once more, it shows no frame of ours
            importlib.import_module("rekindle.sdk.user_frames").only(error)
            raise
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
