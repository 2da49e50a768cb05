"""Cls and its instances: what ``@app.cls()`` makes of a class. Standard library only."""

from __future__ import annotations

import inspect
import io
import pickle
import threading
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from rekindle.exception import ExecutionError, InvalidError
from rekindle.sdk import checks
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.dual import Dual
from rekindle.sdk.hooks import Parameter, mark_of

if TYPE_CHECKING:
    from rekindle.sdk.function import Function

_TYPES: dict[Any, type] = {kind: kind for kind in (str, int, bytes, bool)}
_TYPES |= {kind.__name__: kind for kind in (str, int, bytes, bool)}
#: The arguments of an instance, pickled.
MAX_PARAMS_BYTES = 16 * 1024


class Cls:
    """A class whose methods run in runners. Instantiate it to get at them: ``Embedder().embed``."""

    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration
        if declaration.raw is not None:
            self.__doc__ = declaration.raw.__doc__
            self.__wrapped__ = declaration.raw

    @property
    def __name__(self) -> str:
        return self._declaration.name

    @property
    def name(self) -> str:
        """The name of the class."""
        return self._declaration.name

    @property
    def object_id(self) -> str:
        """The function id of the class. Raises ExecutionError where its app is not running."""
        return self._declaration.resolve()[1]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """An instance, with values for the class's parameters. Nothing runs yet."""
        return Instance(self, self._bind(args, kwargs))

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        raw = self._declaration.raw
        if raw is None:
            if args:
                raise TypeError(f"{self.name}() takes keyword arguments where only a handle is")
            return dict(kwargs)
        known = parameters_of(raw)
        values = bind_parameters(self.name, known, args, kwargs)
        check_values(raw, values)
        return values

    def __getattr__(self, name: str) -> Any:
        declaration = self.__dict__.get("_declaration")
        if declaration is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        if name in declaration.methods:
            raise AttributeError(
                f"{declaration.name}.{name} is a method of an instance. "
                f"Did you forget to instantiate the class first? {declaration.name}().{name}"
            )
        if declaration.raw is None:
            raise AttributeError(f"{declaration.name} has no attribute {name!r} in this process")
        return getattr(declaration.raw, name)

    def __repr__(self) -> str:
        return f"<rekindle.Cls {self.name} of app {self._declaration.app_name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Cls, (self._declaration,)


class Instance:
    """``Embedder(...)``: values for the parameters, and the methods to call."""

    def __init__(self, cls: Cls, parameters: dict[str, Any]) -> None:
        self._cls = cls
        self._parameters = parameters
        self._params_cache: bytes | None = None
        self._local_lock = threading.Lock()
        self._local_object: Any = None
        self._local_ready = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        declaration = self._cls._declaration
        if name in declaration.methods:
            from rekindle.sdk.function import Function

            method: Function[..., Any] = Function(declaration, method=name, instance=self)
            return method
        if name in self._parameters:
            return self._parameters[name]
        if declaration.raw is None or not hasattr(declaration.raw, name):
            near = checks.nearest(name, declaration.methods)
            known = ", ".join(sorted(declaration.methods)) or "none"
            raise AttributeError(
                f"{declaration.name} has no method {name!r}{near or f' (methods: {known})'}"
            )
        return getattr(self._object(), name)

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in self._parameters.items())
        return f"<rekindle instance {self._cls.name}({values})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Instance, (self._cls, self._parameters)

    @property
    def update_autoscaler(self) -> Dual[..., None, Awaitable[None]]:
        """As of a function (sdk/function.py), for the pool of this instance's parameters."""
        return Dual(self._update_autoscaler, self._update_autoscaler_aio)

    def _update_autoscaler(
        self,
        *,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: float | None = None,
    ) -> None:
        from rekindle.sdk import pool_settings

        pool_settings.update(
            self._cls._declaration,
            self._params_bytes(),
            min_containers=min_containers,
            max_containers=max_containers,
            buffer_containers=buffer_containers,
            scaledown_window=scaledown_window,
        )

    async def _update_autoscaler_aio(self, **given: Any) -> None:
        from rekindle.sdk import pool_settings

        await pool_settings.update_aio(self._cls._declaration, self._params_bytes(), **given)

    def _params_bytes(self) -> bytes:
        """What names this instance's runners: equal bytes for equal values."""
        if self._params_cache is None:
            self._params_cache = pack_parameters(self._cls.name, self._parameters)
        return self._params_cache

    # ---- in this process -----------------------------------------------------------------------

    def _object(self) -> Any:
        raw = self._cls._declaration.raw
        if raw is None:
            raise ExecutionError(
                f"{self._cls.name}: its code is not in this process, only a handle to it; "
                f"use .remote()"
            )
        if self._local_object is None:
            made = raw.__new__(raw)
            for key, value in self._parameters.items():
                setattr(made, key, value)
            self._local_object = made
        return self._local_object

    def _call_local(self, method: str, args: Any, kwargs: Any) -> Any:
        target = getattr(self._object(), self._cls._declaration.methods[method])
        if inspect.iscoroutinefunction(target):
            return self._enter_and_await(target, args, kwargs)
        with self._local_lock:
            if not self._local_ready:
                for hook in self._hooks():
                    self._settle(hook())
                self._local_ready = True
        return target(*args, **kwargs)

    async def _enter_and_await(self, target: Any, args: Any, kwargs: Any) -> Any:
        if not self._local_ready:
            self._local_ready = True
            for hook in self._hooks():
                pending = hook()
                if inspect.isawaitable(pending):
                    await pending
        return await target(*args, **kwargs)

    def _hooks(self) -> list[Any]:
        made = self._object()
        found = hooks_of(type(made))
        return [getattr(made, name) for name in (*found["enter_snap"], *found["enter"])]

    def _settle(self, value: Any) -> None:
        if inspect.iscoroutine(value):
            import asyncio

            try:
                asyncio.run(value)
            except RuntimeError as error:
                value.close()
                raise ExecutionError(
                    f"{self._cls.name} has an async enter hook, which cannot be awaited from a "
                    f"blocking .local() inside a running event loop ({error})"
                ) from None


# ---- looking at a class ------------------------------------------------------------------------


def hooks_of(raw: type) -> dict[str, Any]:
    """Names by role: ``methods`` (public name -> attribute), ``enter_snap``, ``enter``, ``exit``.

    Parents' come first; a name that a subclass redefines without a mark is no hook any more.
    """
    names: dict[str, None] = {}
    for cls in reversed(raw.__mro__):
        names.update(dict.fromkeys(vars(cls)))
    out: dict[str, Any] = {"methods": {}, "enter_snap": [], "enter": [], "exit": []}
    for name in names:
        mark = mark_of(inspect.getattr_static(raw, name, None))
        if mark is None:
            continue
        if mark.kind == "method":
            out["methods"][name] = name
        elif mark.kind == "enter":
            out["enter_snap" if mark.snap else "enter"].append(name)
        else:
            out["exit"].append(name)
    return out


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


def annotation_of(raw: type, name: str) -> Any:
    """The annotated type of a parameter: one of str, int, bytes, bool, or None for others."""
    for cls in raw.__mro__:
        annotations = inspect.get_annotations(cls)
        if name in annotations:
            given = annotations[name]
            return _TYPES.get(given) if isinstance(given, (type, str)) else None
    return None


def check_class(raw: Any) -> None:
    """Refuse what cannot be a Cls. Raises InvalidError."""
    for cls in raw.__mro__[:-1]:
        if "__init__" in vars(cls):
            raise InvalidError(
                f"{raw.__name__} has an __init__ ({cls.__name__}.__init__): a class of an app "
                f"takes values through rekindle.parameter() and sets itself up in @rekindle.enter()"
            )
    for name, parameter in parameters_of(raw).items():
        kind = annotation_of(raw, name)
        if kind is None:
            raise InvalidError(
                f"{raw.__name__}.{name} must be annotated with str, int, bytes or bool: "
                f"`{name}: str = rekindle.parameter()`"
            )
        if parameter.default is not ...:
            _check_type(f"the default of {raw.__name__}.{name}", parameter.default, kind)


def bind_parameters(
    name: str, known: dict[str, Parameter], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Values for all parameters, from arguments and defaults. Raises TypeError."""
    names = [key for key, parameter in known.items() if parameter.init]
    if len(args) > len(names):
        raise TypeError(f"{name}() takes {len(names)} arguments, {len(args)} were given")
    given = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        if key not in known or not known[key].init:
            raise TypeError(
                f"{name}() got an unexpected keyword argument {key!r}{checks.nearest(key, names)}"
            )
        if key in given:
            raise TypeError(f"{name}() got two values for {key!r}")
        given[key] = value
    values = {key: given.get(key, parameter.default) for key, parameter in known.items()}
    missing = [key for key, value in values.items() if value is ...]
    if missing:
        raise TypeError(f"{name}() needs values for: {', '.join(missing)}")
    return values


def check_values(raw: type, values: dict[str, Any]) -> None:
    """Each value is of its annotated type. Raises TypeError."""
    for key, value in values.items():
        try:
            _check_type(f"{raw.__name__}({key}=)", value, annotation_of(raw, key))
        except InvalidError as error:
            raise TypeError(str(error)) from None


def _check_type(what: str, value: Any, kind: type) -> None:
    if type(value) is not kind:
        raise InvalidError(f"{what} is {value!r}; it must be of type {kind.__name__}")


def pack_parameters(name: str, values: dict[str, Any]) -> bytes:
    """Pickle the values so that equal ones give equal bytes. Raises InvalidError when too large."""
    if not values:
        return b""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5)
    pickler.fast = True  # no memo: whether two values are one object must not show
    pickler.dump(dict(sorted(values.items())))
    data = buffer.getvalue()
    if len(data) > MAX_PARAMS_BYTES:
        raise InvalidError(
            f"the parameters of {name} take {len(data)} bytes, more than {MAX_PARAMS_BYTES}: "
            f"pass large values as arguments of a method"
        )
    return data
