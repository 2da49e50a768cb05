"""GPUs that are lent to work in the background, until a start needs them.

A snapshot that is being made, a spare that has its context: each is told to end when its devices
are wanted, and they are free when its process has ended. Knows who was told, and decides nothing of
placement but whom to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from rekindle.gpu_restore.placement.devices import Fleet, Holding
from rekindle.gpu_restore.placement.options import options
from rekindle.gpu_restore.placement.packing import Packing
from rekindle.gpu_restore.placement.preemption import preempt
from rekindle.wire.gpus import GpuRequest

#: Whoever asks has a higher one.
LENT_PRIORITY = -1000


class LoanState(Enum):
    """Of a loan; ``Lending`` moves it, and forgets one that is over."""

    LENT = "lent"
    KEPT = "kept"  # they are a start's now, until its runner has them
    LEAVING = "leaving"  # its holder was told to end


@dataclass
class Loan:
    """Devices that work in the background has."""

    #: What it is ("spare", "snapshot"), and whose: a function, as messages name it.
    to: str
    function: str
    #: How its holder is told to end.
    give_way: Callable[[], None]
    state: LoanState = LoanState.LENT


@dataclass
class Lending:
    """By the name that devices are held under."""

    loans: dict[str, Loan] = field(default_factory=dict)

    @property
    def leaving(self) -> set[str]:
        """Names of loans whose holders were ordered to end."""
        return {owner for owner in self.loans if self._is(owner, LoanState.LEAVING)}

    def add(self, owner: str, loan: Loan) -> None:
        """Note that devices are lent."""
        self.loans[owner] = loan

    def keep(self, owner: str) -> bool:
        """They are a start's now, with the spare that has them; False where that one ends."""
        if not self._is(owner, LoanState.LENT):
            return False
        self.loans[owner].state = LoanState.KEPT
        return True

    def is_kept(self, owner: str) -> bool:
        """Whether they are a start's, and a spare has them."""
        return self._is(owner, LoanState.KEPT)

    def let_go(self, owner: str) -> bool:
        """The start does not need them: have the spare end; False where there is none."""
        if not self._is(owner, LoanState.KEPT):
            return False
        self._have_leave(owner)
        return True

    def gone(self, owner: str) -> None:
        """They are free, or a runner's."""
        self.loans.pop(owner, None)

    def take_back(
        self, fleet: Fleet, wanted: Sequence[GpuRequest], priority: int, packing: Packing
    ) -> None:
        """Have those end that hold what is wanted, if that helps; no more than have to."""
        left = fleet.without(self.leaving)
        if options(left, wanted):
            return

        def is_lent(one: Holding) -> bool:
            return self._is(one.owner, LoanState.LENT)

        if not any(is_lent(one) for one in left.holdings.values()):
            return
        found = preempt(left, tuple(wanted), priority, packing, is_lent, is_lent)
        for victim in found.victims if found is not None else ():
            self._have_leave(victim.owner)

    def _have_leave(self, owner: str) -> None:
        loan = self.loans[owner]
        loan.state = LoanState.LEAVING
        loan.give_way()

    def _is(self, owner: str, state: LoanState) -> bool:
        loan = self.loans.get(owner)
        return loan is not None and loan.state is state
