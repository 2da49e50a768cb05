"""Weights to the device: a module's tensors, or those of safetensors files, by the copy engine.

What ``module.to(device)`` gives, and what it does not: tensors that shared memory still do. Torch
is the caller's: it is imported by nobody here before a module of it is handed in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rekindle.exception import GpuError, InvalidError
from rekindle.gpu_restore import layout, safetensors_files
from rekindle.gpu_restore.copying import Arena, FileRange, Transfer, transfer
from rekindle.gpu_restore.device import Device, cuda_device
from rekindle.gpu_restore.host_device import HostDevice
from rekindle.gpu_restore.layout import Layout, View

_host = HostDevice()


@dataclass(frozen=True)
class Target:
    """Where tensors go: torch's name of the device, and the device that copies."""

    torch: Any  # the module
    place: Any  # torch.device
    device: Device
    threads: int | None = None

    def allocate(self, size: int) -> Any:
        """A tensor of so many bytes there."""
        return self.torch.empty(size, dtype=self.torch.uint8, device=self.place)

    def settle(self) -> None:
        """Wait for what torch has begun: memory that it hands out may still be in use there."""
        if self.place.type == "cuda":
            self.torch.cuda.current_stream(self.place).synchronize()


def target(place: Any = None, threads: int | None = None) -> Target:
    """``"cuda"``, ``"cuda:1"``, 1, ``"cpu"``, a torch.device; None is the current GPU.

    Raises GpuError where there is no such device or no torch, InvalidError for what names none.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise GpuError("to_device and load_safetensors need PyTorch: install torch here") from None
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InvalidError(f"threads={threads!r} must be a whole number of at least 1")
    where = _named(torch, "cuda" if place is None else place)
    if where.type == "cpu":
        return Target(torch, where, _host, threads)
    if where.type != "cuda":
        raise GpuError(f"to_device: {where} is neither a CUDA device nor the CPU")
    if not hasattr(torch._C, "_cuda_init"):
        raise GpuError(f"this build of torch ({torch.__version__}) is without CUDA")
    from rekindle.gpu_restore.context import bring_up

    bring_up()
    index = where.index if where.index is not None else torch.cuda.current_device()
    return Target(torch, torch.device("cuda", index), cuda_device(index), threads)


def _named(torch: Any, place: Any) -> Any:
    """The torch.device; a number is a GPU's, which torch itself asks CUDA for."""
    try:
        return torch.device("cuda", place) if type(place) is int else torch.device(place)
    except (RuntimeError, TypeError):
        raise InvalidError(
            f"device={place!r} names no device; write 'cuda', 'cuda:1' or 'cpu'"
        ) from None


# ---- modules and tensors in memory -----------------------------------------------------------


def move(what: Any, to: Target) -> tuple[Any, Transfer]:
    """A module (in place), a tensor, or a dict, list or tuple of these (a new one).

    Raises GpuError or what torch raises; a module is as it was then.
    """
    found = list(tensors_of(what))
    dense = [tensor for tensor in found if is_dense(to.torch, tensor)]
    planned = layout.lay_out(dense)
    arenas, moved = fill(planned, to)
    views = {key: view_of(to, arenas, view) for key, view in planned.views.items()}
    return replace(what, mapped_by(to, views)), moved


def fill(planned: Layout, to: Target) -> tuple[list[Any], Transfer]:
    """Arenas of torch's, with the pieces in them."""
    arenas = [to.allocate(size) for size in planned.sizes]
    to.settle()
    moved = transfer(
        to.device,
        [
            Arena(arena.data_ptr(), size, pieces)
            for arena, size, pieces in zip(arenas, planned.sizes, planned.pieces, strict=True)
        ],
        threads=to.threads,
    )
    return arenas, moved


def view_of(to: Target, arenas: Sequence[Any], view: View) -> Any:
    """The tensor at that place. It keeps its arena."""
    arena = arenas[view.arena]
    made = to.torch.empty(0, dtype=view.dtype, device=to.place)
    at = (arena.storage_offset() + view.offset) // made.element_size()
    return made.set_(arena.untyped_storage(), at, view.shape, view.strides)


def is_dense(torch: Any, tensor: Any) -> bool:
    """Whether it is plain memory on the CPU; all else goes by torch's own way."""
    return bool(
        tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
        and tensor.numel() > 0
    )


def mapped_by(to: Target, views: dict[layout.Key, Any]) -> Callable[[Any], Any]:
    """What each tensor becomes."""

    def become(tensor: Any) -> Any:
        if is_dense(to.torch, tensor):
            found = views.get(layout.key_of(tensor))
            if found is not None:
                return found
        return tensor.to(to.place)

    return become


def tensors_of(what: Any) -> Iterator[Any]:
    import torch

    if isinstance(what, torch.nn.Module):
        for module in what.modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None:
                    yield tensor
                    if tensor.grad is not None:
                        yield tensor.grad
    elif isinstance(what, torch.Tensor):
        yield what
    elif isinstance(what, Mapping):
        for value in what.values():
            yield from tensors_of(value)
    elif isinstance(what, list | tuple):
        for value in what:
            yield from tensors_of(value)
    else:
        raise TypeError(
            f"to_device takes a torch module, a tensor, or a dict or list of these, not "
            f"{type(what).__name__}"
        )


def replace(what: Any, become: Callable[[Any], Any]) -> Any:
    """``what`` with each of its tensors put in its place, the way ``module.to`` does it."""
    import torch

    if isinstance(what, torch.nn.Module):
        apply: Any = what._apply
        return apply(become)
    if isinstance(what, torch.Tensor):
        moved = become(what).detach()
        return moved.requires_grad_(what.requires_grad)
    if isinstance(what, Mapping):
        return {key: replace(value, become) for key, value in what.items()}
    return type(what)(replace(value, become) for value in what)


# ---- safetensors files -----------------------------------------------------------------------


def load_files(paths: Iterable[str | os.PathLike[str]], to: Target) -> tuple[Any, Transfer]:
    """The tensors of safetensors files, by name, straight from the files.

    Raises GpuError for a file that is damaged, OSError for one that cannot be read.
    """
    packer, places, opened = layout.Packer(), {}, []
    try:
        for path in paths:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            opened.append(fd)
            for stored in safetensors_files.read_table(fd):
                if stored.name in places:
                    raise GpuError(f"{os.fspath(path)}: tensor {stored.name!r} is there twice")
                at = packer.add(stored.size, FileRange(fd, stored.offset)) if stored.size else None
                places[stored.name] = (at, stored)
        planned = Layout(tuple(packer.sizes), tuple(map(tuple, packer.pieces)), {})
        arenas, moved = fill(planned, to)
    finally:
        for fd in opened:
            os.close(fd)
    found = {}
    for name, (at, stored) in places.items():
        dtype = getattr(to.torch, safetensors_files.TYPES[stored.dtype][1], None)
        if dtype is None:
            raise GpuError(f"this torch has no type {stored.dtype}, of tensor {name!r}")
        if at is None:
            found[name] = to.torch.empty(stored.shape, dtype=dtype, device=to.place)
            continue
        strides = _strides(stored.shape)
        found[name] = view_of(to, arenas, View(*at, dtype, stored.shape, strides))
    return found, moved


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
