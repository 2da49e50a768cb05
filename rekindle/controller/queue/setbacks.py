"""Inputs that come back without a result: placed again at once, later, or given up.

Each delivery that was lost with its runner counts, and the next one waits longer. An input that
had not begun is not to blame, and counts nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping

from rekindle.controller.queue.dispatcher import Dispatcher
from rekindle.controller.queue.endings import Endings
from rekindle.controller.queue.events import Events
from rekindle.controller.queue.inputs import Batch, Holder, InputState, LoneInput, Lot, Slice
from rekindle.controller.settings import Settings
from rekindle.controller.state import Agent, Call, Function, State
from rekindle.controller.tasks import Tasks
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_MOST_BACKOFF_S = 60.0
#: An agent that dies is held against the inputs that its runners may have had. One that was with
#: lost agents this many times as often as deliveries are allowed is to blame all the same.
_VAGUE_TO_COUNT = 4


class Setbacks:
    """Places inputs again, or gives them up."""

    def __init__(
        self,
        state: State,
        dispatcher: Dispatcher,
        endings: Endings,
        tasks: Tasks,
        settings: Settings,
        events: Events,
    ) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._endings = endings
        self._tasks = tasks
        self._settings = settings
        self._events = events

    def returned(self, agent: Agent, message: pb.InputsReturned) -> None:
        """An agent gives inputs back: their runner died. Only those that had begun count it."""
        call = self._state.calls.get(message.call_id)
        if call is None:
            return
        begun = set(message.begun)
        reason = message.reason or "no reason given"
        held = [(call.undone.get(index), index) for index in message.indexes]
        mine = [
            (holder, index)
            for holder, index in held
            if isinstance(holder, Slice | LoneInput) and holder.agent is agent
        ]
        self._set_back([one for one in mine if one[1] not in begun], reason, counts=False)
        self._set_back([one for one in mine if one[1] in begun], reason, counts=True, killed=True)
        self._dispatcher.pump()

    def agent_lost(self, agent: Agent, reason: str) -> None:
        """An agent is gone for good, with what it had.

        Which of its inputs ran is not known. No more than its runners could, and they take the
        oldest first: so many of each function count it as a delivery that was lost.
        """
        runners: dict[Function, int] = {}
        counted: list[tuple[Slice | LoneInput, int]] = []
        others: list[tuple[Slice | LoneInput, int]] = []
        for holding in list(agent.holdings):
            function = holding.entry.call.function
            left = runners.setdefault(function, agent.max_runners)
            indexes = list(holding.out) if isinstance(holding, Slice) else [holding.index]
            counted += [(holding, index) for index in indexes[:left]]
            others += [(holding, index) for index in indexes[left:]]
            runners[function] = max(0, left - len(indexes))
        self._set_back(others, reason, counts=False, vague=True)
        self._set_back(counted, reason, counts=True)
        self._dispatcher.pump()

    def lease_ended(self, holding: Slice | LoneInput, indexes: Iterable[int]) -> None:
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
        self._set_back([(holding, index) for index in found], reason, counts=True)
        self._dispatcher.pump()

    def _set_back(
        self,
        inputs: list[tuple[Slice | LoneInput, int]],
        reason: str,
        *,
        counts: bool,
        vague: bool = False,
        killed: bool = False,
    ) -> None:
        """Place inputs again that no agent has any more, those in front first.

        ``killed``: the runner of each died, so that it may be what killed it.
        """
        cancelled: dict[Call, list[int]] = {}
        lost: dict[Call, list[LoneInput]] = {}
        lots: dict[Slice, Lot] = {}
        again: list[Lot | LoneInput] = []
        for holder, index in inputs:
            call = holder.entry.call
            if call.cancelled:
                cancelled.setdefault(call, []).append(index)
            elif counts or holder.vague + 1 >= _VAGUE_TO_COUNT * self._settings.max_deliveries:
                item = self._endings.alone(holder, index)
                if item.state is InputState.ASSIGNED:
                    item.move(InputState.ADRIFT)
                item.killed += killed
                lost.setdefault(call, []).append(item)
            elif isinstance(holder, Slice):
                lot = lots.get(holder)
                if lot is None:
                    lot = lots[holder] = Lot(holder.entry, [], vague=holder.vague + vague)
                    again.append(lot)
                lot.inputs.append(self._dispatcher.take_back(holder, index))
            else:
                item = self._endings.alone(holder, index)
                item.vague += vague
                if item.state is InputState.ASSIGNED:
                    item.move(InputState.ADRIFT)
                again.append(item)
        self.put_first(again)
        for call, items in lost.items():
            self._tasks.start(self._lost(call, items, reason), "place again")
        for call, indexes in cancelled.items():
            work = self._endings.finish(call, indexes, pb.CANCELLED, "the call was cancelled")
            self._tasks.start(work, "cancel inputs")

    def put_first(self, work: list[Lot | LoneInput]) -> None:
        """Make inputs ready that had their turn before."""
        for one in reversed(work):
            if isinstance(one, LoneInput):
                self._dispatcher.place_again(one)
            else:
                self._dispatcher.enqueue(one, first=True)

    async def _lost(self, call: Call, items: list[LoneInput], reason: str) -> None:
        """Deliveries were lost with a runner: place the inputs again, later and later, or not."""
        log.warning(
            "deliveries were lost",
            extra=kv(
                call=call.call_id,
                inputs=",".join(str(item.index) for item in items[:16]),
                reason=reason,
            ),
        )
        for listener in self._events.placed_again:
            listener(call, len(items))
        by_count: dict[int, list[LoneInput]] = {}
        for item in items:
            item.lost += 1
            by_count.setdefault(item.lost, []).append(item)
        for lost, alike in by_count.items():
            if lost >= self._settings.max_deliveries:
                message = (
                    f"the runner was lost {lost} times while it had this input, the last time "
                    f"because: {reason}"
                )
                indexes = [item.index for item in alike]
                await self._endings.finish(call, indexes, pb.RUNNER_LOST, message)
                continue
            wait_s = self.backoff_s(lost)
            due = time.time() + wait_s
            await self._endings.keep(alike, int(due * 1000) if wait_s else 0)
            for item in alike:
                if item.state is not InputState.ADRIFT or item.agent is not None:
                    continue
                if wait_s:
                    item.move(InputState.DELAYED)
                    self._dispatcher.delay(item, due - time.time())
                else:
                    self._dispatcher.place_again(item)
        self._dispatcher.pump()

    def backoff_s(self, lost: int) -> float:
        """How long an input waits after so many lost deliveries: 0, then 1, 2, 4 ... seconds."""
        if lost < 2:
            return 0.0
        wait_s: float = self._settings.crash_backoff_s * 2.0 ** (lost - 2)
        return min(_MOST_BACKOFF_S, wait_s)

    # ---- agents that come back

    def never_arrived(self, agent: Agent, has: Mapping[str, Collection[int]]) -> None:
        """An agent is back and does not know some of what it was given: it did not get it."""
        missing: list[tuple[Slice | LoneInput, int]] = []
        for holding in agent.holdings:
            known = has.get(holding.entry.call.call_id, ())
            indexes = list(holding.out) if isinstance(holding, Slice) else [holding.index]
            missing += [(holding, index) for index in indexes if index not in known]
        self._set_back(missing, "its agent did not get it", counts=False)

    def came_back(self, agent: Agent, holder: Holder | None, index: int) -> bool:
        """An agent has an input that it was not given here; whether it may go on with it."""
        if isinstance(holder, Batch) or holder is None or holder.entry.call.cancelled:
            return False
        if not isinstance(holder, Lot) and holder.agent is not None:
            return False  # another agent has it
        call = holder.entry.call
        if isinstance(holder, LoneInput):
            if holder.state not in (InputState.QUEUED, InputState.ADRIFT):
                return False
            self._state.adrift.pop(holder, None)
            self._dispatcher.give(agent, holder)
            return True
        if isinstance(holder, Slice):
            given = self._dispatcher.take_back(holder, index)
            if not holder.out:
                self._state.adrift.pop(holder, None)
        else:
            given = holder.drop(index)
        part = self._dispatcher.slice_of(agent, holder.entry)
        part.out[index] = given
        call.undone[index] = part
        agent.add(call.function, 1, part.weight, call.depth)
        return True

    def release_adrift(self) -> None:
        """All expected agents are back or given up: what none of them has is placed again."""
        adrift = [
            (holding, index)
            for holding in self._state.adrift
            for index in (list(holding.out) if isinstance(holding, Slice) else [holding.index])
            if holding.entry.call.undone.get(index) is holding
        ]
        self._state.adrift.clear()
        self._set_back(adrift, "the controller was restarted", counts=False)
        self._dispatcher.pump()
