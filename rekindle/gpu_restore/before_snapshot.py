"""A template of a function with GPUs: questions are answered, and nothing of CUDA is begun.

``torch.cuda.is_available()``, ``device_count()`` and their like say what runners will have, from
what the agent knows of its node. By itself torch asks the CUDA runtime, after which no fork of the
process can use CUDA and no snapshot can be taken; and with PYTORCH_NVML_BASED_CUDA_CHECK=1 it asks
NVML, which leaves the driver's device files open. So two functions of torch that ask NVML are given
the answer, and that variable is set. CuPy and Numba have one function each. JAX has none: its first
question starts all of its backends. Modules are touched when user code imports them; none is
imported here. Standard library only.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from rekindle.gpu_restore.touched import Watch
from rekindle.wire import gpu_environment

_NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"
TOO_EARLY = (
    "this runs before the snapshot is taken, where there is no GPU: use it in a hook of "
    "@rekindle.enter() (snap=False), which runs in every runner"
)


class Template:
    """What was put in the place of what, until ``leave``."""

    def __init__(self, uuids: Sequence[str], watch: Watch) -> None:
        self.uuids = tuple(uuids)
        self.watch = watch
        #: Whether this process is a template still, and no runner.
        self.is_template = True
        self._changed: list[tuple[Any, str, Any]] = []
        self._environment: str | None = None
        self._finder: _Finder | None = None

    def begin(self) -> None:
        """Before user code."""
        self._environment = os.environ.get(_NVML_CHECK)
        os.environ[_NVML_CHECK] = "1"
        changes: dict[str, Callable[[ModuleType], None]] = {
            "torch.cuda": self._torch,
            "cupy.cuda": self._asked,
            "numba.cuda": self._asked,
        }
        self._finder = _Finder(changes)
        sys.meta_path.insert(0, self._finder)
        for name, change in changes.items():
            if (module := sys.modules.get(name)) is not None:
                change(module)

    def leave(self) -> None:
        """In what is a runner now: modules are as they would be without us. Twice is once."""
        self.is_template = False
        self.watch.end()
        os.environ.pop(gpu_environment.EXPECTED, None)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        while self._changed:
            module, name, original = self._changed.pop()
            setattr(module, name, original)
        if self._finder is not None:
            self._finder = None
            if self._environment is None:
                os.environ.pop(_NVML_CHECK, None)
            else:
                os.environ[_NVML_CHECK] = self._environment

    def _put(self, module: Any, name: str, value: Any) -> None:
        if hasattr(module, name):
            self._changed.append((module, name, getattr(module, name)))
            setattr(module, name, value)

    def _torch(self, cuda: ModuleType) -> None:
        self._put(cuda, "_raw_device_count_nvml", lambda: len(self.uuids))
        self._put(cuda, "_raw_device_uuid_nvml", lambda: list(self.uuids))
        native: Any = sys.modules.get("torch._C")
        for name in ("_cuda_init", "_cuda_getDeviceCount"):
            if hasattr(native, name):
                self._put(native, name, self._noted(getattr(native, name)))

    def _asked(self, cuda: ModuleType) -> None:
        self._put(cuda, "is_available", lambda: bool(self.uuids))

    def _noted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The same, with the line that called it noted, and an error that says what to do."""

        @functools.wraps(original)
        def call(*args: Any) -> Any:
            self.watch.note(depth=2)
            try:
                return original(*args)
            except Exception as error:
                error.add_note(TOO_EARLY)
                raise

        return call


_current: Template | None = None


def begin() -> Template:
    """In a process that is to be a template, before user code."""
    global _current
    _current = Template(gpu_environment.uuids(os.environ, gpu_environment.EXPECTED), Watch())
    _current.watch.begin()
    if _current.uuids:
        _current.begin()
    return _current


def too_early() -> bool:
    """Whether this process waits for its snapshot, so that it may not use its GPUs."""
    return _current is not None and _current.is_template


def current() -> Template | None:
    """That of this process, or of the template that it was made from."""
    return _current


class _Finder(importlib.abc.MetaPathFinder):
    """Sees modules of given names when they are imported, whoever finds them."""

    def __init__(self, after: dict[str, Callable[[ModuleType], None]]) -> None:
        self._after = after

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The import system's question for a module."""
        change = self._after.get(name)
        if change is None:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, change)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """Another loader, with something done once the module is there."""

    def __init__(self, loader: Any, change: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._change = change

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """As the other has it."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """As the other has it; then the module is its own again."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._change(module)
