"""Whether plain data that was read back has the types that its class declares."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from rekindle.wire.class_parameters import ClassParameter
from rekindle.wire.gpus import GpuRequest
from rekindle.wire.volumes import VolumeMount

#: Named in annotations, where they are imported for types alone.
_NAMES = {one.__name__: one for one in (ClassParameter, GpuRequest, VolumeMount)}


def checked(one: Any) -> Any:
    """A dataclass's instance, as it was given. Raises TypeError, naming the first wrong field."""
    kind: Any = type(one)
    for name, hint in _hints(kind).items():
        value = getattr(one, name)
        if not _is(value, hint):
            raise TypeError(f"{name} is {value!r:.60}")
    return one


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, localns=_NAMES)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _is(value: object, hint: Any) -> bool:
    origin, inside = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_is(value, one) for one in inside)
    if origin in (dict, Mapping):
        key, of = inside
        return isinstance(value, dict) and all(_is(k, key) and _is(v, of) for k, v in value.items())
    if origin in (list, tuple):
        if not isinstance(value, origin):
            return False
        if origin is tuple and inside[-1] is not Ellipsis:
            pairs = zip(value, inside, strict=True)
            return len(value) == len(inside) and all(_is(one, of) for one, of in pairs)
        return all(_is(one, inside[0]) for one in value)
    if hint is float:
        return type(value) in (float, int)
    if hint in (int, bool, str):
        return type(value) is hint
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return isinstance(value, hint) and checked(value) is value
    return isinstance(value, hint)
