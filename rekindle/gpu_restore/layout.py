"""Where each tensor of a module lies in arenas on the device, from where it lies in memory.

Works on addresses: tensors that share memory (tied weights, views of one buffer) share it on the
device too, and neighbours stay neighbours, so that copies are large and reads go through a file in
order. Knows torch by what is handed in; imports none of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rekindle.gpu_restore.copying import Memory, Piece

#: As torch's own allocator aligns what it hands out.
ALIGNMENT = 512
#: An arena holds no more, unless one tensor is larger: memory comes free arena by arena.
ARENA_BYTES = 1 << 30


@dataclass(frozen=True)
class View:
    """One tensor: where its first element is on the device. Strides are in elements."""

    arena: int
    offset: int
    dtype: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]


#: What tells two tensors apart: address, type, shape, strides.
Key = tuple[int, Any, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """Arenas to allocate, what goes into each, and where each tensor is then."""

    sizes: tuple[int, ...]
    pieces: tuple[tuple[Piece, ...], ...]
    views: dict[Key, View]

    @property
    def total_bytes(self) -> int:
        """What is to be copied."""
        return sum(piece.size for pieces in self.pieces for piece in pieces)


def key_of(tensor: Any) -> Key:
    """Of a dense tensor on the CPU."""
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tuple(tensor.stride())


def extent(tensor: Any) -> tuple[int, int]:
    """First address and the one behind the last element's last byte."""
    last = sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
    start: int = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()


def lay_out(tensors: Iterable[Any], arena_bytes: int = ARENA_BYTES) -> Layout:
    """For dense tensors on the CPU, none of them empty."""
    packer = Packer(arena_bytes)
    views: dict[Key, View] = {}
    for start, end, members in _areas(tensors):
        arena, offset = packer.add(end - start, Memory(start))
        for tensor in members:
            at = offset + tensor.data_ptr() - start
            # A view of another type in the midst of an element has no place: it is left out.
            if at % tensor.element_size() == 0:
                views[key_of(tensor)] = View(
                    arena, at, tensor.dtype, tuple(tensor.shape), tuple(tensor.stride())
                )
    return Layout(tuple(packer.sizes), tuple(map(tuple, packer.pieces)), views)


def _areas(tensors: Iterable[Any]) -> Iterable[tuple[int, int, list[Any]]]:
    """Areas of memory that overlap no other, in order, with the tensors in each."""
    ordered = sorted(((*extent(one), one) for one in tensors), key=lambda found: found[:2])
    current: list[Any] = []
    start = end = 0
    for first, last, tensor in ordered:
        if current and first >= end:
            yield start, end, current
            current = []
        if not current:
            start = end = first
        current.append(tensor)
        end = max(end, last)
    if current:
        yield start, end, current


class Packer:
    """Fills arenas one after the other."""

    def __init__(self, arena_bytes: int = ARENA_BYTES) -> None:
        self._arena_bytes = arena_bytes
        self.sizes: list[int] = []
        self.pieces: list[list[Piece]] = []

    def add(self, size: int, source: Any) -> tuple[int, int]:
        """A place for ``size`` bytes: number of the arena, offset in it."""
        offset = -(-self.sizes[-1] // ALIGNMENT) * ALIGNMENT if self.sizes else 0
        if not self.sizes or (offset and offset + size > self._arena_bytes):
            self.sizes.append(0)
            self.pieces.append([])
            offset = 0
        self.pieces[-1].append(Piece(offset, size, source))
        self.sizes[-1] = offset + size
        return len(self.sizes) - 1, offset
