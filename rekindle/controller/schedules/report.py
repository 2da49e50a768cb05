"""Schedules for people: when they are due next, and what became of their last runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rekindle.controller.schedules.records import Run, Scheduled
from rekindle.controller.schedules.scheduler import Scheduler
from rekindle.controller.state import AssignedBatch, DetachedInput, State
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.queue_store import QueueStore
from rekindle.exception import InternalFailure
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import schedules
from rekindle.wire.messages import read_result


@dataclass(eq=False)
class ScheduleReport:
    """Reads; changes nothing."""

    _state: State
    _scheduler: Scheduler
    _store: QueueStore
    _calls: CallStore

    async def make(self, app: str) -> pb.SchedulesReply:
        """Those of an app, or of all ("")."""
        wanted = [
            one
            for _, one in sorted(self._scheduler.known.items())
            if one.active and app in ("", one.app)
        ]
        return pb.SchedulesReply(schedules=[await self._one(one) for one in wanted])

    async def _one(self, one: Scheduled) -> pb.ScheduleStatus:
        runs = [*one.runs] + ([one.claimed] if one.claimed is not None else [])
        next_due = one.next_due()
        return pb.ScheduleStatus(
            app=one.app,
            function=one.function,
            schedule=schedules.shown(one.schedule),
            next=next_due if math.isfinite(next_due) else 0.0,
            runs=one.count,
            missed=one.missed,
            last=[await self.run(run) for run in reversed(runs)],
        )

    async def run(self, run: Run) -> pb.ScheduledRun:
        """One run, as it stands."""
        made = pb.ScheduledRun(
            due=run.due, submitted=run.submitted, call_id=run.call_id, by_hand=run.by_hand
        )
        if run.error:
            made.state, made.error = "failed", run.error
            return made
        raw = await self._store.result(run.function_id, run.call_id, 0)
        if raw is None:
            made.state = await self._unended(run)
            return made
        try:
            result = read_result(raw, f"the call {run.call_id}")
        except InternalFailure as error:
            made.state, made.error = "failed", str(error)
            return made
        made.state = "done" if result.status == pb.SUCCESS else "failed"
        if made.state == "failed":
            kind = pb.ResultStatus.Name(result.status).lower().replace("_", " ")
            made.error = ": ".join(part for part in (result.error_type or kind, result.message))
        if result.marks:
            made.took_s = max(0.0, (result.marks[-1].at_ns - result.submitted_ns) / 1e9)
        return made

    async def _unended(self, run: Run) -> str:
        call = self._state.calls.get(run.call_id)
        if call is not None:
            holder = call.undone.get(0)
            at_agent = isinstance(holder, AssignedBatch | DetachedInput) and holder.agent
            return "running" if at_agent else "waiting"
        known = await self._calls.call_meta(run.function_id, run.call_id)
        return "waiting" if known is not None or not run.submitted else "unknown"
