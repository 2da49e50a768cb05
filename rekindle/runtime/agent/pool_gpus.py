"""The GPUs of one pool: what is reserved for its starts, until a runner takes it over.

What goes where, and what is free, gpus.py says.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from rekindle.exception import GpuUnavailableError
from rekindle.gpu_restore.placement.devices import shares_of
from rekindle.gpu_restore.placement.options import why_never
from rekindle.runtime.agent.gpu_claims import Asking, Claim
from rekindle.runtime.agent.gpu_lending import Loan
from rekindle.runtime.agent.gpus import Gpus
from rekindle.wire.gpus import in_words


@dataclass(eq=False)
class PoolGpus(Asking):
    """What one pool asks for, and what is reserved for its starts."""

    _gpus: Gpus
    _reserved: deque[str] = field(default_factory=deque)
    #: Held by spares that have their context: one that is reserved is the spare's own.
    _contexts: deque[str] = field(default_factory=deque)
    #: Runners that were given devices, the newest.
    _owners: deque[str] = field(default_factory=lambda: deque(maxlen=16))
    #: Why no start will be served, with the devices that were lost when that was looked for.
    _never: tuple[frozenset[str], str] | None = None

    def check(self) -> None:
        """Raises GpuUnavailableError where this node will never serve it."""
        if self.wanted and self._why_never:
            raise GpuUnavailableError(self._why_never)

    @property
    def _why_never(self) -> str:
        """Why no start will ever be served; "" where one will."""
        found, lost = self._gpus.allowed, self._gpus.fleet.lost
        if not found.gpus:
            return f"gpu={in_words(self.wanted)} cannot be served, no GPU here: {found.reason}"
        if self._never is None or self._never[0] != lost:
            self._never = lost, why_never(self._gpus.fleet, self.wanted)
        return self._never[1]

    def reserve(self, *, ahead: bool = False) -> bool:
        """Devices for one start, if there are any now; True also where there is none to wait for:
        then the start fails, and says why. ``ahead``: see Gpus."""
        if not self.wanted or self._why_never:
            return True
        owner = self._take_context() or self._gpus.reserve(self, ahead=ahead)
        if owner is not None:
            self._reserved.append(owner)
        return owner is not None

    def lend(self, loan: Loan) -> Claim | None:
        """See Gpus.lend."""
        owner = None
        if self.wanted and not self._why_never:
            owner = self._gpus.lend(self, loan)
        try:
            return None if owner is None else Claim(owner, self._gpus.given(owner))
        except GpuUnavailableError:
            return None  # and it is free again

    def may_lend(self) -> bool:
        """Whether ``lend`` would find something."""
        return (
            bool(self.wanted) and not self._why_never and self._gpus.spare_devices(self) is not None
        )

    def lent_until_end(self, claim: Claim, pid: int) -> None:
        """Have a loan last until a process has ended; see Gpus."""
        self._gpus.lent_until_end(claim.owner, pid)

    def end_loan(self, claim: Claim) -> None:
        """End a loan: its work is done, or its process will end, and the devices are free then."""
        self._gpus.end_loan(claim.owner)

    def has_context(self, claim: Claim) -> None:
        """Note that a spare has its context on what was lent to it: a start may have both."""
        self._contexts.append(claim.owner)

    def _take_context(self) -> str | None:
        """What a spare with its context holds, for a start."""
        while self._contexts:
            owner = self._contexts.popleft()
            if self._gpus.lending.keep(owner):
                self.leave()
                return owner
        return None

    def unreserve(self) -> None:
        """Free what was reserved last: its start does not come to be."""
        if self._reserved:
            self._gpus.let_go(self._reserved.pop())

    def each(self) -> float:
        """GPUs that one runner holds, by those that hold some now or by what is asked for first."""
        shares = shares_of(self._gpus.fleet)
        held = [shares[one] for one in self._owners if one in shares]
        if held:
            return round(max(held), 4)
        largest = max((one.memory_mib for one in self._gpus.fleet.devices()), default=0)
        first = self.wanted[0]
        return round(first.memory_mib / largest, 4) if first.memory_mib and largest else first.count

    @property
    def waits(self) -> bool:
        """Whether it waits for devices."""
        return self.key in self._gpus.line

    def leave(self) -> None:
        """Leave the line of those that wait for devices."""
        if self.waits:
            self._gpus.line.remove(self.key)

    async def claim(self, timeout_s: float) -> Claim:
        """What one start gets; it is to be taken over by a runner, or dropped. Raises
        GpuUnavailableError."""
        if (nothing := self.claim_nothing()) is not None:
            return nothing
        while self._reserved:
            owner = self._reserved.popleft()
            if self._gpus.lending.is_kept(owner):
                self._gpus.let_go(owner)  # a spare's, and the start goes on without that one
            elif self._gpus.holding(owner) is not None:
                return Claim(owner, self._gpus.given(owner))
        owner = await self._gpus.reserve_or_wait(self, timeout_s)
        return Claim(owner, self._gpus.given(owner))

    async def until_free(self, timeout_s: float) -> None:
        """Wait until a start would get its devices at once: they are taken as one would, with idle
        runners making room, and let go. Raises GpuUnavailableError."""
        self.check()
        if self.wanted:
            self._gpus.release(await self._gpus.reserve_or_wait(self, timeout_s))

    def claim_nothing(self) -> Claim | None:
        """What a start gets of a pool that asks for no GPU; None of one that does."""
        return None if self.wanted else Claim("", self._gpus.nothing)

    def claim_context(self) -> Claim | None:
        """What a spare with its context holds, for a start by that spare; None: there is none.
        Raises GpuUnavailableError."""
        kept = [one for one in self._reserved if self._gpus.lending.is_kept(one)]
        if kept:
            self._reserved.remove(kept[0])
        elif self._reserved or not (taken := self._take_context()):
            return None
        else:
            kept = [taken]
        return Claim(kept[0], replace(self._gpus.given(kept[0]), hidden=()))

    def put_back(self, claim: Claim) -> None:
        """Put a claim back for the next step of the same start."""
        if claim.owner:
            self._reserved.appendleft(claim.owner)

    def take_over(self, claim: Claim, runner_id: str, pid: int) -> None:
        """Give a claim to a runner until its process ends. Raises OSError where the process is
        gone, say."""
        if claim.owner:
            self._gpus.hand_over(claim.owner, runner_id, pid)
            self._owners.append(runner_id)

    def drop(self, claim: Claim) -> None:
        """Free a claim of which no runner came; does nothing where one has taken it over."""
        self._gpus.let_go(claim.owner)

    def give_back(self) -> None:
        """Free what no start has taken: nothing is started any more."""
        self.leave()
        while (owner := self._take_context()) is not None:
            self._gpus.let_go(owner)
        while self._reserved:
            self._gpus.let_go(self._reserved.popleft())

    def start_failed(self, starting: int) -> None:
        """Free what is reserved beyond ``starting``, the starts that are still under way."""
        while len(self._reserved) > starting:
            self._gpus.let_go(self._reserved.pop())
