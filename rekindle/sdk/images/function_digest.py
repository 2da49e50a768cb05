"""What names a call of ``Image.run_function``: by source, all of the user's that it comes to.

The source of the function, of functions and classes that it mentions, and so on, its arguments and
the values of globals, so that an edit elsewhere in a file builds nothing again. Of what is
installed the name counts alone. A local module that is imported in a function counts whole, with
those that it imports. Standard library only.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from rekindle.exception import InvalidError
from rekindle.sdk import fingerprint
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.program import imports
from rekindle.wire import pickling
from rekindle.wire.usercode import came_by_signal

#: Members of a class that are made by calling their function.
_METHODS = (FunctionType, staticmethod, classmethod, property)


def digest(raw: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """32 hex digits. Raises InvalidError where the function has no source."""
    if _source(raw.__code__) is None:
        raise InvalidError(
            f"Image.run_function({raw.__qualname__}): its source is not to be found; write it in a "
            f"file"
        )
    return fingerprint.digest(raw, args, kwargs, kind=_Sources)


class _Sources(fingerprint.Walk):
    """Code by its source instead of its bytes, wherever in a file it stands; also what an import
    finds, which has to travel by name."""

    def __init__(self, budget: int | None = None) -> None:
        super().__init__(budget)
        #: Modules that count, with names in them, or whole ("").
        self._modules: set[tuple[str, str]] = set()

    def _compound(self, value: Any, kind: type) -> None:
        if isinstance(value, ModuleType):
            self._whole_module(value.__name__)
        elif kind is pickling.CACHED:
            self._all("lru_cache", (value.cache_parameters(), value.__wrapped__))
        else:
            super()._compound(value, kind)

    def _handle(self, value: Any) -> None:
        if isinstance(value, Declaration):
            self._all("declaration", (value.app_name, value.name, value.kind, value.raw))
        else:
            super()._handle(value)

    def _function(self, function: FunctionType) -> None:
        if not _is_own(function):
            self._put("by name", f"{function.__module__}.{function.__qualname__}".encode())
            return
        code = function.__code__
        self._put("function", function.__name__.encode())
        source = _source(code)
        if source is None:  # made by exec: a method of a dataclass
            self._code(code)
        else:
            self._put("source", source.encode())
        self._all("defaults", (function.__defaults__, function.__kwdefaults__))
        self._all("closure", function.__closure__ or ())
        self._all("attributes", (dict(function.__dict__),))
        if not code.co_filename.startswith("<") and not imports.is_local_file(code.co_filename):
            return  # of a decorator that is installed
        mentioned = _names(code)
        for name in fingerprint.global_names(code):
            if name in function.__globals__:
                value = function.__globals__[name]
                self._put("global", name.encode())
                if isinstance(value, ModuleType):
                    self._module(value, mentioned)
                else:
                    self.feed(value)
        package = function.__globals__.get("__package__") or ""
        for name in sorted({*_imported(code, package)}):
            self._whole_module(name)

    def _module(self, module: ModuleType, mentioned: frozenset[str]) -> None:
        """What some code takes of a module; all of it where it takes nothing by name."""
        found = [name for name in sorted(mentioned) if name in vars(module)]
        if not found or not imports.is_local(module.__name__):
            self._whole_module(module.__name__)
        for name in found if imports.is_local(module.__name__) else ():
            if (module.__name__, name) in self._modules:
                continue
            self._modules.add((module.__name__, name))
            value = vars(module)[name]
            self._put("of module", f"{module.__name__}.{name}".encode())
            if isinstance(value, ModuleType):
                self._module(value, mentioned)
            else:
                self.feed(value)

    def _whole_module(self, name: str) -> None:
        self._put("module", name.encode())
        for local, module in sorted(imports.imported_by(name).items()):
            if (local, "") in self._modules:
                continue
            self._modules.add((local, ""))
            try:
                content = module.file.read_bytes()
            except OSError as error:
                if came_by_signal(error):
                    raise
                raise InvalidError(f"{module.file} cannot be read: {error.strerror}") from error
            self._put("source of module", local.encode())
            self._put("is", hashlib.sha256(content).digest())

    def _class(self, cls: type) -> None:
        if cls.__module__ == "builtins" or not _is_own(cls) or self._budget is not None:
            self._put("by name", f"{cls.__module__}.{cls.__qualname__}".encode())
            return
        source = _source(cls)
        if source is None:
            super()._class(cls)
            return
        self._put("class", source.encode())
        self._all("bases", (type(cls), *cls.__bases__))
        # What others make of the source, under such names, may hold addresses.
        members = {
            name: value
            for name, value in vars(cls).items()
            if isinstance(value, _METHODS) or not (name.startswith("__") and name.endswith("__"))
        }
        members.pop("_abc_impl", None)
        self._all("members", (part for name in sorted(members) for part in (name, members[name])))


def _is_own(value: Any) -> bool:
    """Whether a function or class is of one of the user's own modules."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return imports.is_local_file(file)
    # A prompt and a notebook have no file, and nor has what C brings along.
    return module is None or module.__name__ == "__main__"


def _source(code: CodeType | type) -> str | None:
    """As written; None where that is not to be found."""
    try:
        return textwrap.dedent(inspect.getsource(code))
    except (OSError, TypeError, SyntaxError, IndentationError):
        return None


def _codes(code: CodeType) -> Iterator[CodeType]:
    """It, and what is nested in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


def _names(code: CodeType) -> frozenset[str]:
    """All names that are looked up anywhere but among its own variables."""
    return frozenset(name for one in _codes(code) for name in one.co_names)


def _imported(code: CodeType, package: str) -> Iterator[str]:
    """Modules that its import statements may mean."""
    for one in _codes(code):
        steps = [step for step in dis.get_instructions(one) if step.opname != "EXTENDED_ARG"]
        for at, step in enumerate(steps):
            if step.opname != "IMPORT_NAME":
                continue
            level, names = steps[at - 2].argval, steps[at - 1].argval or ()
            name = imports.absolute(step.argval, level, package)
            if name is not None:
                yield name
                yield from (f"{name}.{part}" for part in names if part != "*")
