"""Values as bytes: cloudpickle, with errors that say what was wrong and where.

Both ends of a call use it, so it imports the standard library and, when something beyond the
built-in types is pickled, cloudpickle. Knows nothing of calls, functions or gRPC.
"""

from __future__ import annotations

import pickle
from typing import Any

from rekindle.exception import DeserializationError, SerializationError, a_or_an
from rekindle.wire.pickling import PROTOCOL, dumps
from rekindle.wire.usercode import came_by_signal, text_of

_SCALARS = frozenset((int, float, str, bytes, bool, type(None)))


def serialize(value: object, what: str) -> bytes:
    """Pickle ``value``; ``what`` names it in errors ("the result of embed").

    Raises SerializationError that names the part which cannot be pickled and the path to it.
    """
    try:
        if type(value) in _SCALARS:  # as ``dumps`` pickles them, a call less
            return pickle.dumps(value, PROTOCOL)
        return dumps(value)
    except BaseException as error:
        if came_by_signal(error):
            raise
        raise _explain(value, "value", what, error) from None


def serialize_scalars(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
    """The payload of an input whose arguments are numbers, strings and the like; else None."""
    if kwargs:
        return None
    for value in args:
        if type(value) not in _SCALARS:
            return None
    return pickle.dumps((args, kwargs), PROTOCOL)


def serialize_input(args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> bytes:
    """Pickle ``(args, kwargs)``, the payload of an input; errors name the argument."""
    try:
        return dumps((args, kwargs))
    except BaseException as error:
        if came_by_signal(error):
            raise
        for root, value in [
            *((f"args[{i}]", value) for i, value in enumerate(args)),
            *((f"{name}=", value) for name, value in kwargs.items()),
        ]:
            if failure_of(value) is not None:
                raise _explain(value, root, what, error) from None
        raise _explain((args, kwargs), "(args, kwargs)", what, error) from None


def deserialize(data: bytes, what: str) -> Any:
    """Unpickle ``data``; ``what`` names it in errors.

    Raises DeserializationError, with the original error's type and text.
    """
    try:
        return pickle.loads(data)
    except BaseException as error:
        raise unpickling_error(what, error) from error


def unpickling_error(what: str, error: BaseException) -> DeserializationError:
    """The error to raise for one that unpickling raised; ``what`` names what was unpickled.

    Raises ``error`` itself where it came by a signal, and so is no matter of what was unpickled.
    """
    if came_by_signal(error):
        raise error
    if isinstance(error, DeserializationError):
        return DeserializationError(f"{what} cannot be unpickled here: {text_of(error)}")
    return DeserializationError(
        f"{what} cannot be unpickled here: {type(error).__name__}: {text_of(error)}. {_hint(error)}"
    )


def _hint(error: BaseException) -> str:
    if not isinstance(error, Exception):
        return "It was raised by code that unpickling runs: __setstate__, say, or an import."
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"Make the module {error.name!r} importable in this process."
    if isinstance(error, AttributeError):
        return "The definition that it needs is not in the module of that name here."
    return "Both sides must have the same Python version and the same versions of its packages."


def type_name(cls: type) -> str:
    """``module.QualName``; bare for builtins."""
    if cls.__module__ in ("builtins", "__main__"):
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def safe_repr(value: object) -> str:
    """``repr``, of anything."""
    try:
        return repr(value)
    except BaseException as error:
        if came_by_signal(error):
            raise
        return f"<{type_name(type(value))} object>"


# ---- the path to what cannot be pickled --------------------------------------------------------

_MAX_DEPTH = 30


def failure_of(value: object) -> BaseException | None:
    """Why a value cannot be pickled; None where it can."""
    try:
        dumps(value)
    except BaseException as error:
        if came_by_signal(error):
            raise
        return error
    return None


def _explain(value: object, root: str, what: str, error: BaseException) -> SerializationError:
    path, part, cause = find_unpicklable(value, root, error)
    found = f"{path} is {a_or_an(type_name(type(part)))}" if part is not None else path
    return SerializationError(
        f"{what} cannot be pickled: {found} ({type(cause).__name__}: {text_of(cause)}). "
        f"Leave it out, or make it where it is used."
    )


def find_unpicklable(
    value: object, root: str, error: BaseException
) -> tuple[str, Any, BaseException]:
    """Follow ``value`` down to the smallest part that fails; its path, itself and its error."""
    path, part, cause = root, value, error
    seen: set[int] = set()
    for _ in range(_MAX_DEPTH):
        seen.add(id(part))
        for step, child in _children_or_none(part):
            if id(child) in seen:
                continue
            failure = failure_of(child)
            if failure is not None:
                path, part, cause = path.removesuffix("=") + step, child, failure
                break
        else:
            break
    return path.removesuffix("="), part, cause


def _children_or_none(value: object) -> list[tuple[str, Any]]:
    """The same of a value that may not even be looked at."""
    try:
        return _children(value)
    except BaseException as error:
        if came_by_signal(error):
            raise
        return []  # a user's __getattr__ may raise anything; pickle's own error is reported


def _children(value: object) -> list[tuple[str, Any]]:
    """The parts that pickle visits, each with the step that leads to it."""
    if isinstance(value, dict):
        return [
            *((f"[{_short(key)}]", child) for key, child in value.items()),
            *((f".keys()[{i}]", key) for i, key in enumerate(value)),
        ]
    if isinstance(value, (list, tuple)):
        return [(f"[{i}]", child) for i, child in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return [(f"{{{_short(child)}}}", child) for child in value]
    code = getattr(value, "__code__", None)
    if code is not None and hasattr(value, "__globals__"):
        return _function_parts(value, code)
    state = getattr(value, "__dict__", None)
    parts = [(f".{name}", child) for name, child in dict(state).items()] if state else []
    if not isinstance(value, type):
        for cls in type(value).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else tuple(slots):
                if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                    parts += [(f".{name}", getattr(value, name))]
    else:
        parts = [(step, child) for step, child in parts if not step.startswith(".__")]
    bound = getattr(value, "__self__", None)
    if bound is not None and callable(value):
        parts.append((".__self__", bound))
    return parts


def _function_parts(function: Any, code: Any) -> list[tuple[str, Any]]:
    parts: list[tuple[str, Any]] = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            parts.append((f" > closure variable {name!r}", cell.cell_contents))
        except ValueError:  # not yet filled
            continue
    names = [name for name in _names_in(code) if name in function.__globals__]
    parts += [(f" > global {name!r}", function.__globals__[name]) for name in names]
    for i, default in enumerate(function.__defaults__ or ()):
        parts.append((f" > default {i}", default))
    for name, default in (function.__kwdefaults__ or {}).items():
        parts.append((f" > default of {name!r}", default))
    return parts


def _names_in(code: Any) -> list[str]:
    """Names that a code object, or one nested in it, may look up as globals."""
    names = list(code.co_names)
    for const in code.co_consts:
        if hasattr(const, "co_names"):
            names.extend(_names_in(const))
    return list(dict.fromkeys(names))


def _short(key: object) -> str:
    text = safe_repr(key)
    return text if len(text) <= 40 else text[:37] + "..."
