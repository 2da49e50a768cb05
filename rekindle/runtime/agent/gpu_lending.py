"""GPUs that are lent to work in the background, until a start needs them.

A snapshot that is being made, a spare that has its context: each is told to end when its devices
are wanted, and they are free when its process has ended. Knows who was told, and decides nothing of
placement but whom to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rekindle.gpu_restore.placement.devices import Fleet, Holding
from rekindle.gpu_restore.placement.options import options
from rekindle.gpu_restore.placement.packing import Packing
from rekindle.gpu_restore.placement.preemption import preempt
from rekindle.wire.gpus import GpuRequest

#: Whoever asks has a higher one.
LENT_PRIORITY = -1000


@dataclass
class Lending:
    """By the name that devices are held under."""

    #: How its holder is told to end.
    _lent: dict[str, Callable[[], None]] = field(default_factory=dict)
    #: The same of those that are a start's now, until its runner has them.
    _kept: dict[str, Callable[[], None]] = field(default_factory=dict)
    #: Told to end.
    leaving: set[str] = field(default_factory=set)

    def add(self, owner: str, give_way: Callable[[], None]) -> None:
        """They are lent."""
        self._lent[owner] = give_way

    def keep(self, owner: str) -> bool:
        """They are a start's now, with the spare that has them; False where that one ends."""
        give_way = self._lent.pop(owner, None)
        if give_way is not None:
            self._kept[owner] = give_way
        return give_way is not None

    def is_kept(self, owner: str) -> bool:
        """Whether they are a start's, and a spare has them."""
        return owner in self._kept

    def let_go(self, owner: str) -> bool:
        """The start does not need them: have the spare end; False where there is none."""
        give_way = self._kept.pop(owner, None)
        if give_way is not None:
            self.leaving.add(owner)
            give_way()
        return give_way is not None

    def gone(self, owner: str) -> None:
        """They are free, or a runner's."""
        self._lent.pop(owner, None)
        self._kept.pop(owner, None)
        self.leaving.discard(owner)

    def take_back(
        self, fleet: Fleet, wanted: Sequence[GpuRequest], priority: int, packing: Packing
    ) -> None:
        """Have those end that hold what is wanted, if that helps; no more than have to."""
        left = fleet.without(self.leaving)
        if not self._lent or options(left, wanted):
            return

        def is_lent(one: Holding) -> bool:
            return one.owner in self._lent

        found = preempt(left, tuple(wanted), priority, packing, is_lent, is_lent)
        for victim in found.victims if found is not None else ():
            self.leaving.add(victim.owner)
            self._lent.pop(victim.owner)()
