"""The one pickler of values and code: plain pickle where it can, cloudpickle where it must.

What the module of the program defines is pickled as a name where the other side imports that
module too, so that its classes are one class on each side. Code that no import can find travels by
value, with the files, names and lines that it has here. Standard library only until something
beyond the built-in types is pickled. Knows nothing of calls, apps or decorators.
"""

from __future__ import annotations

import functools
import io
import marshal
import pickle
import sys
from types import CodeType, FunctionType
from typing import Any, TypeVar

from rekindle.exception import DeserializationError

PROTOCOL = 5
_SCALARS = frozenset((type(None), bool, int, float, str, bytes))

#: Modules that one Python alone has, and where all have what is in them.
_MOVED = {"pathlib._local": "pathlib"}  # 3.13
#: Names of classes that only newer Pythons have, and those that all have them by.
_RENAMED = {("re", "PatternError"): "error"}  # 3.13

#: The Python of this process: instructions are its own.
_here = sys.version_info[:2]

#: Whether ``__main__`` of this process is a module that runners import, and which names of it they
#: do not get (what stands under ``if __name__ == "__main__"``).
_main_is_imported = False
_main_only_here: frozenset[str] = frozenset()


def main_is_imported(only_here: frozenset[str] = frozenset()) -> None:
    """Say that runners import this process's ``__main__``, all but the names ``only_here``."""
    global _main_is_imported, _main_only_here
    _main_is_imported, _main_only_here = True, only_here


def is_name_of_main(value: Any) -> bool:
    """Whether a function, class or type variable has a name in an imported ``__main__``."""
    if not _main_is_imported or getattr(value, "__module__", None) != "__main__":
        return False
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(name, str) or name.split(".")[0] in _main_only_here:
        return False
    return found_at("__main__", name) is value


def found_at(module: str, name: str) -> Any:
    """What an imported module has at a qualified name; None where there is nothing."""
    target: Any = sys.modules.get(module)
    for part in name.split("."):
        target = getattr(target, part, None)
    return target


def name_for_all(cls: type | FunctionType) -> tuple[str, str] | None:
    """The module and name by which all Pythons have a class that says another one here; None for
    most classes."""
    said = cls.__module__, cls.__qualname__
    module, name = _MOVED.get(said[0], said[0]), _RENAMED.get(said, said[1])
    return (module, name) if (module, name) != said and found_at(module, name) is cls else None


#: The type of what ``functools.lru_cache`` makes.
CACHED = type(functools.lru_cache(len))


def is_importable(value: Any) -> bool:
    """Whether a runner finds a cached function by its module and name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module == "__main__" or not isinstance(module, str) or not isinstance(name, str):
        return is_name_of_main(value)
    return found_at(module, name) is value


def code_of(major: int, minor: int, data: bytes) -> CodeType:
    """Code that was sent by value: instructions, which mean others to another Python.

    Raises DeserializationError for that of another one.
    """
    if (major, minor) != _here:
        raise DeserializationError(
            f"it holds code of Python {major}.{minor}, and this is Python {_here[0]}.{_here[1]}: a "
            f"lambda, or what is defined in a function or a notebook. Define it at the top level "
            f"of a module that both sides import, or have one Python on both sides"
        )
    code: CodeType = marshal.loads(data)
    return code


class _Forward:
    """Stands for the function of an ``lru_cache`` until it is unpickled: it may mention itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    function: Any


def cached_anew(maxsize: int | None, typed: bool) -> Any:
    """An empty ``lru_cache`` whose function is set when it is known."""
    return functools.lru_cache(maxsize, typed)(_Forward())


def _set_cached(cached: Any, function: Any) -> None:
    cached.__wrapped__.function = function
    functools.update_wrapper(cached, function)


class NotPlainError(Exception):
    """There is more in a value than the built-in types, which pickle alike everywhere."""


class PlainPickler(pickle.Pickler):
    """Pickles the built-in types at the speed of C; asks for cloudpickle at anything else."""

    def reducer_override(self, _: object) -> Any:
        raise NotPlainError


def dumps(value: object) -> bytes:
    """Pickle ``value``. Raises what pickling raises."""
    if type(value) in _SCALARS:  # no pickler of ours would change how these are pickled
        return pickle.dumps(value, PROTOCOL)
    buffer = io.BytesIO()
    try:
        PlainPickler(buffer, PROTOCOL).dump(value)
    except NotPlainError:
        buffer = io.BytesIO()
        rich_pickler()(buffer, PROTOCOL).dump(value)
    return buffer.getvalue()


@functools.cache
def rich_pickler() -> Any:
    """cloudpickle's pickler with our rules: for the program's module, for code objects, for
    exceptions, and for classes whose names other Pythons lack."""
    import cloudpickle

    class RichPickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, value: Any) -> Any:
            kind = type(value)
            if isinstance(value, type) and (for_all := name_for_all(value)) is not None:
                import pkgutil

                return pkgutil.resolve_name, (":".join(for_all),)
            if kind is CodeType:
                # cloudpickle names no file since 3.1.3; tracebacks and debuggers need it.
                return code_of, (*_here, marshal.dumps(value))
            if (
                kind is FunctionType or kind is TypeVar or isinstance(value, type)
            ) and is_name_of_main(value):
                return getattr(value, "__qualname__", None) or value.__name__
            if kind is CACHED and not is_importable(value):
                parameters = value.cache_parameters()
                made = cached_anew, (parameters["maxsize"], parameters["typed"])
                return *made, value.__wrapped__, None, None, _set_cached
            if isinstance(value, BaseException):
                from rekindle.wire import bare_exceptions

                if (parts := bare_exceptions.reduced(value)) is not NotImplemented:
                    return parts
            return super().reducer_override(value)

    return RichPickler
