"""The table of undone inputs: where each of them is. The only place that moves one.

It owns ``Call.undone``, ``Function.ready``, ``entries`` and ``held``, and what each agent has. An
input is admitted, enqueued, assigned to an agent, released from it or put into a batch of results,
and finished. Decides nothing, sends nothing, and knows nothing of Redis.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from rekindle.controller.detached import DetachedState
from rekindle.controller.state import (
    Agent,
    AssignedBatch,
    Call,
    DetachedInput,
    Function,
    Holding,
    Pending,
    QueuedBatch,
    QueueEntry,
    Ready,
    ResultBatch,
)
from rekindle.wire import rekindle_pb2 as pb


class InputTable:
    """All inputs that are in memory."""

    def __init__(self, lease_margin_s: float) -> None:
        self._lease_margin_s = lease_margin_s
        #: Functions with ready inputs.
        self.ready: dict[str, Function] = {}
        #: What agents of the controller before this one may come back with.
        self.orphaned: dict[Holding, None] = {}

    # ---- admit

    def admit(self, call: Call, entry: str, inputs: int, size: int) -> QueueEntry:
        """Count an entry of the queue, with so many undone inputs, as one that is in memory."""
        function = call.function
        made = function.entries[entry] = QueueEntry(call, entry, inputs, size)
        function.held += inputs
        function.held_bytes += size
        return made

    def admit_orphaned(self, entry: QueueEntry, inputs: dict[int, pb.Input]) -> AssignedBatch:
        """Inputs that no agent of this controller has (yet)."""
        batch = AssignedBatch(entry, None, inputs)
        entry.call.undone.update(dict.fromkeys(inputs, batch))
        return batch

    def admit_detached(self, item: DetachedInput) -> None:
        """An input that was tried before, read back."""
        item.call.undone[item.index] = item

    def admit_tried(self, entry: QueueEntry, item: pb.Input) -> DetachedInput:
        """An input of a call whose caller lost runners under it before it was queued."""
        lost = entry.call.lost
        tried = DetachedInput(entry, item, DetachedState.QUEUED, lost=lost, killed=lost)
        self.admit_detached(tried)
        return tried

    # ---- enqueue

    def enqueue(self, work: Ready, *, first: bool = False) -> None:
        """Make inputs ready; ``first`` for those that had their turn before."""
        call = work.entry.call
        if isinstance(work, QueuedBatch):
            call.undone.update(dict.fromkeys([item.index for item in work.inputs], work))
        ready = call.function.ready
        ready.insert(_front(ready, work) if first else _place(ready, work), work)
        self.ready[call.function.function_id] = call.function

    def nested_ready(self) -> list[Function]:
        """Functions whose next input was made inside of a call: room may be left for them alone."""
        found = []
        for function in list(self.ready.values()):
            work = self.next_ready(function)
            if work is not None and work.entry.call.depth:
                found.append(function)
        return found

    def next_ready(self, function: Function) -> Ready | None:
        """The function's first ready work; what was completed meanwhile is passed over."""
        while function.ready:
            work = function.ready[0]
            if work.inputs if isinstance(work, QueuedBatch) else work.state is DetachedState.QUEUED:
                return work
            function.ready.popleft()
        self.ready.pop(function.function_id, None)
        return None

    def drop_ready(self, function: Function) -> None:
        """Let none of a function's inputs be assigned any more (its app closed)."""
        function.ready.clear()
        self.ready.pop(function.function_id, None)

    # ---- assign

    def lease_s(self, function: Function) -> float:
        """For how long an agent may have an input without naming it."""
        return function.spec.startup_timeout_s + function.spec.timeout_s + self._lease_margin_s

    def lease(self, function: Function) -> float:
        """Until when, on the loop's clock."""
        return asyncio.get_running_loop().time() + self.lease_s(function)

    def assign(
        self, batch: QueuedBatch, count: int, agent: Agent, share: float, part: AssignedBatch | None
    ) -> AssignedBatch:
        """Give an agent the first inputs of a batch, each of which takes a share of its room.

        ``part``: what it is given of the batch in the same message, if there is some already.
        """
        entry = batch.entry
        call = entry.call
        if part is None:
            part = AssignedBatch(entry, agent, {}, weight=share, ambiguous=batch.ambiguous)
            part.leased_until = self.lease(call.function)
            agent.holdings[part] = None
        inputs = batch.inputs[:count]
        del batch.inputs[:count]
        for item in inputs:
            part.out[item.index] = item
            call.undone[item.index] = part
        _count(agent, call.function, len(inputs), part.weight, call.depth)
        return part

    def assign_detached(self, item: DetachedInput, agent: Agent) -> None:
        """Give an agent an input that travels alone."""
        function = item.call.function
        item.move(DetachedState.ASSIGNED)
        item.agent = agent
        item.leased_until = self.lease(function)
        agent.holdings[item] = None
        _count(agent, function, 1, 1.0, item.call.depth)
        self.orphaned.pop(item, None)

    def reassign(self, holder: Pending, index: int, agent: Agent) -> None:
        """An agent came back with an input that waited here, or that no agent had."""
        if isinstance(holder, DetachedInput):
            self.assign_detached(holder, agent)
            return
        if isinstance(holder, AssignedBatch):
            item = self.release(holder, index)
            if not holder.out:
                self.orphaned.pop(holder, None)
        else:
            item = holder.drop(index)
        entry = holder.entry
        call = entry.call
        for part in agent.holdings:
            if isinstance(part, AssignedBatch) and part.entry is entry:
                break
        else:
            part = AssignedBatch(entry, agent, {}, 1.0, leased_until=self.lease(call.function))
            agent.holdings[part] = None
        part.out[index] = item
        call.undone[index] = part
        _count(agent, call.function, 1, part.weight, call.depth)

    # ---- release

    def release(self, part: AssignedBatch, index: int) -> pb.Input:
        """Take an input out of a batch, wherever that is; the caller puts it elsewhere."""
        item = part.out.pop(index)
        self.released(part, 1)
        return item

    def released(self, part: AssignedBatch, count: int) -> None:
        """So many inputs were taken out of ``part.out``: its agent has them no more."""
        agent = part.agent
        if agent is not None:
            call = part.entry.call
            _count(agent, call.function, -count, part.weight, call.depth)
            if not part.out:
                agent.holdings.pop(part, None)

    def detach(self, holder: Pending, index: int) -> DetachedInput:
        """An input by itself, out of its batch, and released by its agent."""
        if isinstance(holder, DetachedInput):
            agent = holder.agent
            if agent is not None:
                holder.agent = None
                agent.holdings.pop(holder, None)
                _count(agent, holder.call.function, -1, 1.0, holder.call.depth)
            return holder
        if isinstance(holder, QueuedBatch):
            item = DetachedInput(holder.entry, holder.drop(index), DetachedState.QUEUED)
        else:
            item = DetachedInput(holder.entry, self.release(holder, index), DetachedState.ASSIGNED)
        item.ambiguous = holder.ambiguous
        holder.entry.call.undone[index] = item
        return item

    # ---- finish

    def complete(
        self, batch: ResultBatch, entry: QueueEntry, index: int, result: bytes, status: int
    ) -> None:
        """Put an input's serialized result into a batch that is going to be stored."""
        pairs = batch.groups.get(entry)
        if pairs is None:
            pairs = batch.groups[entry] = []
        pairs.append((index, result))
        batch.count += 1
        batch.size += len(result)
        batch.statuses[status] = batch.statuses.get(status, 0) + 1
        batch.call.undone[index] = batch

    def apart(self, batch: ResultBatch) -> list[ResultBatch]:
        """Batches of one result each, in place of a batch. How each ended, and with which blob, is
        not known apart: that stays with the batch."""
        agents = {index: agent for agent, indexes in batch.acks for index in indexes}
        parts: list[ResultBatch] = []
        for entry, pairs in batch.groups.items():
            for index, result in pairs:
                part = ResultBatch(batch.call, {entry: [(index, result)]}, 1, len(result))
                if index in batch.kept:
                    part.kept.append(index)
                if index in batch.letters:
                    part.letters[index] = batch.letters[index]
                if index in agents:
                    part.acks.append((agents[index], [index]))
                if batch.call.undone.get(index) is batch:
                    batch.call.undone[index] = part
                parts.append(part)
        return parts

    def finish(self, batch: ResultBatch) -> None:
        """The results of a batch are stored: its inputs leave memory."""
        undone, function = batch.call.undone, batch.call.function
        for entry, pairs in batch.groups.items():
            for index, _ in pairs:
                if undone.get(index) is batch:
                    del undone[index]
            entry.left -= len(pairs)
            function.held -= len(pairs)
            if not entry.left and function.entries.pop(entry.entry, None) is not None:
                function.held_bytes -= entry.size
                function.tombstones.completed(entry.entry)

    def renew(self, agent: Agent, listed: Mapping[str, set[int]] | None) -> None:
        """A heartbeat names what the agent has, by call (None: all): these leases begin again."""
        nothing: set[int] = set()
        for holding in agent.holdings:
            call = holding.entry.call
            known = None if listed is None else listed.get(call.call_id, nothing)
            if isinstance(holding, AssignedBatch):
                out = holding.out.keys()
                holding.listed = set(out) if known is None else known & out
                if len(holding.listed) == len(out):
                    holding.leased_until = self.lease(call.function)
            elif known is None or holding.index in known:
                holding.leased_until = self.lease(call.function)


def _count(agent: Agent, function: Function, count: int, weight: float, depth: int) -> None:
    """An agent has so many more inputs (or less) of a call that was made inside of ``depth``."""
    function_id = function.function_id
    depths = agent.nested.setdefault(function_id, {})
    had, units = depths.get(depth, (0, 0.0))
    depths[depth] = (had + count, units + count * weight)
    if had + count == 0:
        del depths[depth]
        if not depths:
            del agent.nested[function_id]
    if count > 0:
        agent.known_functions.add(function_id)
    agent.count += count
    agent.units = agent.units + count * weight if agent.count else 0.0
    function.outstanding += count
    function.units = function.units + count * weight if function.outstanding else 0.0


def _place(ready: deque[Ready], work: Ready) -> int:
    """Where new work goes: behind all others, but for later requests of its call that overtook.

    And for work that is less deep: runners wait for what is made inside of their inputs.
    """
    at, depth = len(ready), work.entry.call.depth
    while at and ready[at - 1].entry.call.depth < depth:
        at -= 1
    if isinstance(work, QueuedBatch):
        while at and _overtook(ready[at - 1], work):
            at -= 1
    return at


def _front(ready: deque[Ready], work: Ready) -> int:
    """Where work goes that had its turn before: before all others that are not deeper."""
    depth = work.entry.call.depth
    at = 0
    while at < len(ready) and ready[at].entry.call.depth > depth:
        at += 1
    return at


def _overtook(other: Ready, work: QueuedBatch) -> bool:
    return (
        isinstance(other, QueuedBatch)
        and other.entry.call is work.entry.call
        and bool(other.inputs)
        and other.inputs[0].index > work.inputs[0].index
    )
