"""What rekindle's decorators leave in user code, and what a runner makes of it.

A decorated function or class stands in its module as a ``Decorated``; the methods of a class carry
marks, and are plain methods otherwise.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from rekindle.exception import DeserializationError

MARK = "__rekindle_mark__"
#: Where a hook of ``enter`` goes, by its ``snap``.
_ENTER: dict[bool | str, str] = {True: "enter_snap", "gpu": "enter_gpu", False: "enter"}
_SHARING = "__rekindle_sharing__"

#: From class, methods (public name -> attribute), parameters, a method's public name and the app to
#: what calls that method remotely.
MethodHandle = Callable[[str, dict[str, str], dict[str, Any], str, str], Any]


class Decorated:
    """What a decorator leaves in the place of a function or class."""

    @property
    def undecorated(self) -> Any:
        """The function or class of the user; None where only a handle to it is here."""
        raise NotImplementedError


class Mark(NamedTuple):
    """What a function in a class body is to rekindle."""

    kind: str  # "enter" | "exit" | "method"
    snap: bool | str = False  # "gpu": with the GPU, in a GPU snapshot where one is taken
    handle: MethodHandle | None = None  # of a method
    generator: bool = False  # a method whose items come one by one


class Sharing(NamedTuple):
    """How the inputs of a function or class share a runner: some at a time, or in batches."""

    max_inputs: int = 1
    target_inputs: int = 1
    max_batch_size: int = 0  # 0: not in batches
    wait_ms: int = 0


def share(function: Any, sharing: Sharing) -> None:
    """Note on a function or class how its inputs share a runner."""
    setattr(function, _SHARING, sharing)


def sharing_of(function: Any) -> Sharing | None:
    """What was noted on just this function or class."""
    found = vars(function).get(_SHARING) if hasattr(function, "__dict__") else None
    return found if isinstance(found, Sharing) else None


class Parameter:
    """The class attribute that ``parameter()`` leaves; its value is given when instantiating.

    ``default`` is Ellipsis where there is none; an object that was given no value has no attribute.
    """

    __slots__ = ("default", "init")

    def __init__(self, default: Any, init: bool = True) -> None:
        self.default = default
        self.init = init

    def __get__(self, made: object, cls: type | None = None) -> Any:
        if made is None:
            return self
        if self.default is ...:
            known = (pair for one in type(made).__mro__ for pair in vars(one).items())
            name = next(name for name, value in known if value is self)
            raise AttributeError(
                f"{type(made).__name__}.{name} is a rekindle.parameter() without a default, and "
                f"has no value yet: set it in an @rekindle.enter() method"
            )
        return self.default

    def __reduce__(self) -> tuple[type[Parameter], tuple[Any, bool]]:
        return Parameter, (self.default, self.init)


def mark_of(function: Any) -> Mark | None:
    """The mark of a function, if it has one."""
    mark = getattr(function, MARK, None)
    return mark if isinstance(mark, Mark) else None


def hooks_of(raw: type) -> dict[str, Any]:
    """Names by role: ``methods`` (public name -> attribute), ``enter_snap``, ``enter_gpu``,
    ``enter``, ``exit``.

    Parents' come first; a name that a subclass redefines without a mark is no hook any more.
    """
    names: dict[str, None] = {}
    for cls in reversed(raw.__mro__):
        names.update(dict.fromkeys(vars(cls)))
    out: dict[str, Any] = {
        "methods": {},
        "enter_snap": [],
        "enter_gpu": [],
        "enter": [],
        "exit": [],
    }
    for name in names:
        mark = mark_of(inspect.getattr_static(raw, name, None))
        if mark is None:
            continue
        if mark.kind == "method":
            out["methods"][name] = name
        elif mark.kind == "enter":
            out[_ENTER[mark.snap]].append(name)
        else:
            out["exit"].append(name)
    return out


def is_generator(function: Any) -> bool:
    """Whether calling it makes a generator, sync or async."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def generators_of(raw: type, methods: dict[str, str]) -> frozenset[str]:
    """Those of the methods (public name -> attribute) of a class that are generators."""
    marks = {name: mark_of(getattr(raw, attr)) for name, attr in methods.items()}
    return frozenset(name for name, mark in marks.items() if mark and mark.generator)


def parameters_of(raw: type) -> dict[str, Parameter]:
    """Parameters by name, parents' first."""
    out: dict[str, Parameter] = {}
    for cls in reversed(raw.__mro__):
        for name, value in vars(cls).items():
            if isinstance(value, Parameter):
                out[name] = value
            else:
                out.pop(name, None)
    return out


def contents(raw: Any) -> dict[str, Any]:
    """What a runner needs of a function or class: the payload of code that travels by value."""
    if not isinstance(raw, type):
        return {"kind": "function", "callable": raw}
    return {
        "kind": "cls",
        "cls": raw,
        **hooks_of(raw),
        # Ellipsis where there is no default.
        "parameters": {name: parameter.default for name, parameter in parameters_of(raw).items()},
    }


def stands_at(module: Any, name: str) -> Any:
    """What stands at ``name`` of an imported module, decorated or not; None where nothing does."""
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def declared_at(module: Any, name: str) -> Any:
    """The user's function or class at ``name`` of an imported module, without its decoration.

    Raises DeserializationError where there is none.
    """
    found = stands_at(module, name)
    raw = found.undecorated if isinstance(found, Decorated) else found
    if raw is None:
        raise DeserializationError(
            f"module {module.__name__!r} has no {name!r} when it is imported in a runner. Declare "
            f"it at the top level, under no condition that only holds where the program starts "
            f"(rekindle.is_local(), say), or with serialized=True; or is another version of the "
            f"module first on sys.path?"
        )
    return raw


def import_declared(module: str, name: str) -> Any:
    """Import ``module`` and give the user's function or class at ``name``."""
    return declared_at(importlib.import_module(module), name)
