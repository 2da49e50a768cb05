"""A module's parameters from a holder: shared with other runners, brought by the first of them.

Parameters alone are shared, and are for reading; buffers, which modules change as they run, are
this runner's own. A module whose parameters are not those that are held gets its own copy of all.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

from rekindle.exception import GpuError, a_or_an
from rekindle.gpu_restore import layout, weights
from rekindle.gpu_restore.copying import Arena, Transfer, transfer
from rekindle.gpu_restore.holding.client import Arenas, Connection
from rekindle.gpu_restore.layout import View
from rekindle.gpu_restore.weights import Target


def move(
    module: Any, key: str, to: Target, holder: Connection, *, checksums: bool = False
) -> tuple[Any, Transfer, bool]:
    """The module with its parameters held; what was copied; whether they were there already.

    Raises GpuError: the module is as it was then.
    """
    if not isinstance(module, to.torch.nn.Module):
        raise GpuError(
            f"hold= keeps the parameters of one module, not of {a_or_an(type(module))}; move "
            "modules one by one, each with a name of its own (hold='encoder')"
        )
    is_in_use = holder.has(key)
    held = holder.want(key)
    try:
        parameters = {
            name: one for name, one in _parameters(module) if weights.is_dense(to.torch, one)
        }
        if held is not None:
            views, copied = _views_by_key(parameters, held, key), Transfer(0, 0.0, 0, 0)
            places = held.places
        else:
            views, copied, places = _bring(parameters, key, to, holder, checksums=checksums)
        bases = [_base(to, place) for place in places]
        shared = {at: weights.view_of(to, bases, view) for at, view in views.items()}
        own, moved = _own(module, shared, to)
    except BaseException:
        # They are of no use here. Where they were to be brought, one that waits is to do it.
        if not is_in_use:
            with contextlib.suppress(GpuError):  # the holder is gone, and its claims with it
                holder.release(key)
        raise
    weights.replace(module, weights.mapped_by(to, shared | own))
    total = Transfer(
        copied.size + moved.size,
        copied.seconds + moved.seconds,
        max(copied.threads, moved.threads),
        copied.chunks + moved.chunks,
        copied.staging_s,
    )
    return module, total, held is not None


def _bring(
    parameters: dict[str, Any], key: str, to: Target, holder: Connection, *, checksums: bool
) -> tuple[dict[layout.Key, View], Transfer, tuple[tuple[int, int], ...]]:
    """Be the first to have them there: where each is, what was copied, and the arenas."""
    planned = layout.lay_out(parameters.values())
    arenas = holder.allocate(key, planned.sizes)
    copied = transfer(
        to.device,
        [
            Arena(address, size, pieces)
            for (address, size), pieces in zip(arenas.places, planned.pieces, strict=True)
        ],
        threads=to.threads,
    )
    index = {
        name: _described(planned.views[layout.key_of(one)])
        for name, one in parameters.items()
        if layout.key_of(one) in planned.views
    }
    holder.commit(key, index, checksums=checksums)
    return planned.views, copied, arenas.places


def _own(
    module: Any, shared: dict[layout.Key, Any], to: Target
) -> tuple[dict[layout.Key, Any], Transfer]:
    """Buffers, gradients, and what is not shared."""
    rest = [
        one
        for one in weights.tensors_of(module)
        if weights.is_dense(to.torch, one) and layout.key_of(one) not in shared
    ]
    planned = layout.lay_out(rest)
    arenas, moved = weights.fill(planned, to)
    return {at: weights.view_of(to, arenas, view) for at, view in planned.views.items()}, moved


def _parameters(module: Any) -> Iterator[tuple[str, Any]]:
    yield from module.named_parameters(remove_duplicate=False)


def _described(view: View) -> dict[str, Any]:
    return {
        "arena": view.arena,
        "offset": view.offset,
        "dtype": str(view.dtype),
        "shape": list(view.shape),
        "strides": list(view.strides),
    }


def _views_by_key(parameters: dict[str, Any], held: Arenas, key: str) -> dict[layout.Key, View]:
    """Where each parameter is among what is held. Raises GpuError where that is another module."""
    views = {}
    for name, one in parameters.items():
        said = held.index.get(name)
        if said is None:
            raise GpuError(f"the weights {key!r} are held without {name!r}")
        found = View(
            said["arena"], said["offset"], one.dtype, tuple(said["shape"]), tuple(said["strides"])
        )
        if (str(one.dtype), tuple(one.shape)) != (said["dtype"], found.shape):
            raise GpuError(
                f"{name!r} is {said['dtype']} {found.shape} among the weights {key!r} that are "
                f"held, and {one.dtype} {tuple(one.shape)} here"
            )
        views[layout.key_of(one)] = found
    return views


def _base(to: Target, place: tuple[int, int]) -> Any:
    """A tensor of bytes over memory that is there."""
    address, size = place
    if to.place.type == "cpu":
        return to.torch.frombuffer(
            (ctypes.c_ubyte * size).from_address(address), dtype=to.torch.uint8
        )
    return to.torch.as_tensor(_Interface(address, size), device=to.place)


class _Interface:
    """Device memory as torch and others take it without a copy."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }
