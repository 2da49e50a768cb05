"""The slots of a runner that has several inputs at a time, and what is in each.

A slot is an input of the queue, or a client's lease, which has one call at a time. What runs in it
since when, the runner's page says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

OwnerT = TypeVar("OwnerT")


class Slots(Generic[OwnerT]):
    """See the module."""

    def __init__(self, most: int) -> None:
        self._free = list(range(most - 1, -1, -1))
        self._owners: dict[int, OwnerT] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def take(self, owner: OwnerT) -> int:
        """A free slot is the owner's from now on."""
        slot = self._free.pop()
        self._owners[slot] = owner
        return slot

    def release(self, slot: int) -> OwnerT | None:
        """Free a slot; the owner that it had, None for none."""
        owner = self._owners.pop(slot, None)
        if owner is not None:
            self._free.append(slot)
        return owner

    def owner(self, slot: int) -> OwnerT | None:
        """What is in a slot; None for nothing."""
        return self._owners.get(slot)

    def items(self) -> Iterator[tuple[int, OwnerT]]:
        """The slots that are taken, with their owners."""
        return iter(list(self._owners.items()))
