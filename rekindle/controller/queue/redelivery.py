"""Inputs that come back without a result: placed again at once, later, or given up.

Each delivery that was lost with its runner counts, and the next one waits longer. An input that
had not begun is not to blame, and counts nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from rekindle.controller.core import Core
from rekindle.controller.detached import DetachedState
from rekindle.controller.events import InputsRedelivered
from rekindle.controller.queue.completion import Completer
from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.finalizer import Finalizer
from rekindle.controller.queue.table import InputTable
from rekindle.controller.state import (
    Agent,
    AssignedBatch,
    Call,
    DetachedInput,
    Function,
    Holder,
    Holding,
    QueuedBatch,
    Ready,
    ResultBatch,
)
from rekindle.counted import counted
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_MOST_BACKOFF_S = 60.0
#: An agent that dies is held against the inputs that its runners may have had. One that was with
#: lost agents this many times as often as deliveries are allowed is to blame all the same.
_AMBIGUOUS_TO_COUNT = 4


@dataclass(eq=False)
class Redelivery:
    """Places inputs again, or gives them up."""

    _core: Core
    _table: InputTable
    _dispatcher: Dispatcher
    _completer: Completer
    _finalizer: Finalizer

    def returned(self, agent: Agent, message: pb.InputsReturned) -> None:
        """An agent gives inputs back: their runner died. Only those that had begun count it."""
        call = self._core.state.calls.get(message.call_id)
        if call is None:
            return
        begun = set(message.begun)
        reason = message.reason or "no reason given"
        held = [(call.undone.get(index), index) for index in message.indexes]
        mine = [
            (holder, index)
            for holder, index in held
            if isinstance(holder, AssignedBatch | DetachedInput) and holder.agent is agent
        ]
        self._redeliver([one for one in mine if one[1] not in begun], reason, counts=False)
        self._redeliver([one for one in mine if one[1] in begun], reason, counts=True, killed=True)
        self._dispatcher.pump()

    def agent_lost(self, agent: Agent, reason: str) -> None:
        """An agent is gone for good, with what it had.

        Which of its inputs ran is not known. No more than its runners could, and they take the
        oldest first: so many of each function count it as a delivery that was lost. One that said
        that it ends has ended what it ran: nothing of it counts.
        """
        if agent.leaving:
            had = [(holding, index) for holding in agent.holdings for index in holding.indexes]
            self._redeliver(had, reason, counts=False)
            self._dispatcher.pump()
            return
        runners: dict[Function, int] = {}
        counted: list[tuple[Holding, int]] = []
        others: list[tuple[Holding, int]] = []
        for holding in list(agent.holdings):
            function = holding.entry.call.function
            left = runners.setdefault(function, agent.max_runners)
            indexes = holding.indexes
            counted += [(holding, index) for index in indexes[:left]]
            others += [(holding, index) for index in indexes[left:]]
            runners[function] = max(0, left - len(indexes))
        self._redeliver(others, reason, counts=False, ambiguous=True)
        self._redeliver(counted, reason, counts=True)
        self._dispatcher.pump()

    def lease_ended(self, holding: Holding, indexes: Iterable[int]) -> None:
        """An agent is alive, and has not said for too long that it has these."""
        call, agent = holding.entry.call, holding.agent
        found = list(indexes)
        log.warning(
            "leases ended",
            extra=kv(call=call.call_id, inputs=len(found), agent=agent.agent_id if agent else ""),
        )
        if agent is not None:
            agent.stop(call.call_id, found, kill=True)
        reason = "its agent lost track of it"
        self._redeliver([(holding, index) for index in found], reason, counts=True)
        self._dispatcher.pump()

    def _redeliver(
        self,
        inputs: list[tuple[Holding, int]],
        reason: str,
        *,
        counts: bool,
        ambiguous: bool = False,
        killed: bool = False,
    ) -> None:
        """Place inputs again that no agent has any more, those in front first.

        ``killed``: the runner of each died, so that it may be what killed it.
        """
        cancelled: dict[Call, list[int]] = {}
        lost: dict[Call, list[DetachedInput]] = {}
        batches: dict[AssignedBatch, QueuedBatch] = {}
        again: list[Ready] = []
        least = _AMBIGUOUS_TO_COUNT * self._core.settings.max_deliveries
        for holder, index in inputs:
            call = holder.entry.call
            counted = counts or holder.ambiguous + 1 >= least
            if call.cancelled:
                cancelled.setdefault(call, []).append(index)
            elif isinstance(holder, AssignedBatch) and not counted:
                batch = batches.get(holder)
                if batch is None:
                    batch = batches[holder] = QueuedBatch(
                        holder.entry, [], ambiguous=holder.ambiguous + ambiguous
                    )
                    again.append(batch)
                batch.inputs.append(self._table.release(holder, index))
            else:
                item = self._table.detach(holder, index)
                if item.state is DetachedState.ASSIGNED:
                    item.move(DetachedState.ORPHANED)
                if counted:
                    item.killed += killed
                    lost.setdefault(call, []).append(item)
                else:
                    item.ambiguous += ambiguous
                    again.append(item)
        for one in reversed(again):
            if isinstance(one, DetachedInput):
                self._dispatcher.requeue(one)
            else:
                self._table.enqueue(one, first=True)
        for call, items in lost.items():
            self._core.tasks.spawn(self._lost(call, items, reason), "place again")
        for call, indexes in cancelled.items():
            self._core.tasks.spawn(self._finalizer.cancel(call, indexes), "cancel inputs")

    async def _lost(self, call: Call, items: list[DetachedInput], reason: str) -> None:
        """Deliveries were lost with a runner: place the inputs again, later and later, or not."""
        log.warning(
            "deliveries were lost",
            extra=kv(
                call=call.call_id,
                inputs=",".join(str(item.index) for item in items[:16]),
                reason=reason,
            ),
        )
        self._core.publish(InputsRedelivered(call, len(items)))
        by_count: dict[int, list[DetachedInput]] = {}
        for item in items:
            item.lost += 1
            by_count.setdefault(item.lost, []).append(item)
        for lost, alike in by_count.items():
            if lost >= self._core.settings.max_deliveries:
                message = (
                    f"the runner was lost {counted(lost, 'time')} while it had this input, the "
                    f"last time because: {reason}"
                )
                indexes = [item.index for item in alike]
                await self._finalizer.finish(call, indexes, pb.RUNNER_LOST, message)
                continue
            wait_s = self.backoff_s(lost)
            due = time.time() + wait_s
            await self._completer.keep_progress(alike, int(due * 1000) if wait_s else 0)
            for item in alike:
                if item.state is not DetachedState.ORPHANED or item.agent is not None:
                    continue
                if wait_s:
                    item.move(DetachedState.DELAYED)
                    self._dispatcher.delay(item, due - time.time())
                else:
                    self._dispatcher.requeue(item)
        self._dispatcher.pump()

    def backoff_s(self, lost: int) -> float:
        """How long an input waits after so many lost deliveries: 0, then 1, 2, 4 ... seconds."""
        if lost < 2:
            return 0.0
        wait_s: float = self._core.settings.crash_backoff_s * 2.0 ** (lost - 2)
        return min(_MOST_BACKOFF_S, wait_s)

    # ---- agents that come back

    def never_arrived(self, agent: Agent, has: Mapping[str, Collection[int]]) -> None:
        """An agent is back and does not know some of what it was given: it did not get it."""
        missing: list[tuple[Holding, int]] = []
        for holding in agent.holdings:
            known = has.get(holding.entry.call.call_id, ())
            indexes = holding.indexes
            missing += [(holding, index) for index in indexes if index not in known]
        self._redeliver(missing, "its agent did not get it", counts=False)

    def came_back(self, agent: Agent, holder: Holder | None, index: int) -> bool:
        """An agent has an input that it was not given here; whether it may go on with it."""
        if isinstance(holder, ResultBatch) or holder is None or holder.entry.call.cancelled:
            return False
        if not isinstance(holder, QueuedBatch) and holder.agent is not None:
            return False  # another agent has it
        if isinstance(holder, DetachedInput) and holder.state not in (
            DetachedState.QUEUED,
            DetachedState.ORPHANED,
        ):
            return False
        self._table.reassign(holder, index, agent)
        return True

    def release_orphaned(self) -> None:
        """All expected agents are back or given up: what none of them has is placed again."""
        orphaned = [
            (holding, index)
            for holding in self._table.orphaned
            for index in holding.indexes
            if holding.entry.call.undone.get(index) is holding
        ]
        self._table.orphaned.clear()
        self._redeliver(orphaned, "the controller was restarted", counts=False)
        self._dispatcher.pump()
