"""Objects whose pickles differ from run to run, and what says the same of them in each run.

By the names of their types, so that nothing is imported for it. Standard library only; knows
nothing of hashes or of how code travels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any


def stable_parts(value: Any) -> tuple[Any, ...] | None:
    """What an object is made of, without addresses and random names; None for most objects."""
    for base in type(value).__mro__:
        parts = _KINDS.get(f"{base.__module__}.{base.__qualname__}")
        if parts is not None:
            return parts(value)
    return None


def _typed_storage(storage: Any) -> tuple[Any, ...]:
    return str(storage.dtype), storage._untyped_storage


def _untyped_storage(storage: Any) -> tuple[Any, ...]:
    """Its pickle names the storage by its address."""
    device = str(storage.device)
    if device == "meta":
        return device, storage.nbytes()
    if device != "cpu":
        storage = storage.cpu()
    size = storage.nbytes()
    return device, ctypes.string_at(storage.data_ptr(), size) if size else b""


def _numba_function(function: Any) -> tuple[Any, ...]:
    """Its pickle has a UUID that is drawn anew in each process."""
    return function.py_func, dict(function.targetoptions), bool(function._can_compile)


_KINDS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "torch.storage.TypedStorage": _typed_storage,
    "torch.storage.UntypedStorage": _untyped_storage,
    "numba.core.dispatcher.Dispatcher": _numba_function,
}
