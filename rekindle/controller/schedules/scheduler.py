"""Runs functions of deployed apps when they are due, once for each due time.

A due time is claimed in Redis before it is run, by compare and swap, together with the id of the
call that is to be its run; who finds a claim that is not settled submits that call again, which
changes nothing where it is in the queue already. So a controller may end at any moment.

What was due while no controller was there is run once, for the latest such time; the earlier ones
are passed over and counted. Where the clock is set back, what has run is not run again; by hours,
it was wrong before, and schedules go on from now. A new version of the app goes on as the former
one did, unless the schedule is another one; while an app is stopped, nothing is due.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rekindle.controller.core import Core
from rekindle.controller.deployments.function_finder import FunctionFinder
from rekindle.controller.deployments.records import Deployment
from rekindle.controller.queue.intake import Intake
from rekindle.controller.schedules.records import Run, Scheduled
from rekindle.controller.storage.schedule_store import ScheduleStore
from rekindle.exception import (
    Error,
    InternalFailure,
    NotFoundError,
    ResourceExhaustedError,
    ServiceError,
)
from rekindle.guarded_loops import Guard, Retries
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.callid import new_call_id
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: The clock may be set: it is looked at this often at least.
_LOOK_S = 15.0
#: What could not be submitted, as Redis was away or the queue full, is tried again after this.
_AGAIN_S = 1.0
#: So many are claimed together, submitted side by side, and noted together.
_AT_ONCE = 64
_NEVER = float("inf")


@dataclass(eq=False)
class Scheduler:
    """All schedules of an instance. ``clock``: seconds since the epoch."""

    _core: Core
    _store: ScheduleStore
    _finder: FunctionFinder
    _intake: Intake
    clock: Callable[[], float] = time.time
    known: dict[str, Scheduled] = field(default_factory=dict)
    _next: dict[str, float] = field(default_factory=dict)
    #: Of these it is not known what has run: no time before now is run for again.
    _damaged: set[str] = field(default_factory=set)
    #: What could not be submitted when that was tried last.
    _not_submitted: dict[str, Retries] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    #: One at a time: a step, or a change of what there is.
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self) -> None:
        """What the controller before this one had; once the deployments are known."""
        deployed = self._finder.book
        for name, text in (await self._store.load()).items():
            if deployed.is_damaged(name.rpartition("/")[0]):
                continue  # it stays as its app does
            if (found := _readable(name, text)) is not None:
                self._keep(found)
            elif name.rpartition("/")[0] in deployed.known:
                self._damaged.add(name)
            else:
                await self._store.forget(name)
        for one in [one for one in self.known.values() if one.app not in deployed.known]:
            await self._drop(one.name)  # its app was being removed, or called otherwise
        for deployment in list(deployed.known.values()):
            await self.follow(deployment.name)

    def deployed(self, name: str) -> None:
        """An app has another version, or was stopped."""
        self._core.tasks.spawn(self.follow(name), "follow schedules")

    async def follow(self, name: str) -> None:
        """Take over the schedules of an app's present version."""
        async with self._turn:
            deployment = self._finder.book.known.get(name)
            if deployment is None:  # gone since, or called otherwise
                return
            wanted = {} if deployment.stopped else deployment.present.schedules
            for function, message in wanted.items():
                await self._begin(deployment, function, message)
            for one in [one for one in self.known.values() if one.app == name and one.active]:
                if one.function not in wanted:
                    await self._change(one, lambda now: dataclasses.replace(now, active=False))
        self._changed.set()

    async def rename(self, app: str, new_name: str) -> None:
        """What an app's schedules have done is that of its new name from now on.

        Until ``renamed`` Redis has it under both: the app may not be called so yet, and a
        controller that ends in between goes on by the name that it has.
        """
        async with self._turn:
            for one in [one for one in self.known.values() if one.app == app]:
                moved = dataclasses.replace(one, app=new_name)
                await self._store.forget(moved.name)  # left by a rename that came to nothing
                await self._store.swap(moved.name, "", moved.to_json())
                del self.known[one.name], self._next[one.name]
                self._keep(moved)

    async def renamed(self, app: str, new_name: str) -> None:
        """The app is called so by now: nothing is kept under its former name."""
        async with self._turn:
            for one in [one for one in self.known.values() if one.app == new_name]:
                await self._drop(dataclasses.replace(one, app=app).name)

    async def forget(self, app: str) -> int:
        """An app is gone for good; how many schedules it had."""
        async with self._turn:
            mine = [one for one in self.known.values() if one.app == app]
            for one in mine:
                await self._drop(one.name)
            return len(mine)

    async def _drop(self, name: str) -> None:
        await self._store.forget(name)
        self._not_submitted.pop(name, None)
        self.known.pop(name, None)  # only Redis has what a rename has left under a former name
        self._next.pop(name, None)

    async def _begin(self, deployment: Deployment, function: str, message: str) -> None:
        since = deployment.present.at
        made = Scheduled(app=deployment.name, function=function, message=message, since=since)
        one = self.known.get(made.name)
        if one is None:
            if made.name in self._damaged:
                await self._store.forget(made.name)
                self._damaged.remove(made.name)
                made = dataclasses.replace(made, last_due=self.clock())
            if not await self._store.swap(made.name, "", made.to_json()):
                self.known[made.name] = made
                made = await self._stored(made)
            self._keep(made)
        elif not one.active or one.message != message:

            def anew(found: Scheduled) -> Scheduled:
                return dataclasses.replace(
                    found, message=message, since=since, active=True, last_due=0.0
                )

            await self._change(one, anew)

    async def _change(
        self, one: Scheduled, change: Callable[[Scheduled], Scheduled | None]
    ) -> Scheduled | None:
        """Change what is stored; None where ``change`` has nothing to change in what is there."""
        while True:
            changed = change(one)
            if changed is None:
                self._keep(one)
                return None
            if await self._store.swap(one.name, one.to_json(), changed.to_json()):
                self._keep(changed)
                return changed
            one = await self._stored(one)

    async def _stored(self, one: Scheduled) -> Scheduled:
        """What is stored of one that is known; what is known, where Redis has lost it."""
        while True:
            text = await self._store.read(one.name)
            if text and (found := _readable(one.name, text)) is not None:
                return found
            if one.name not in self.known:
                raise NotFoundError(f"the app {one.app!r} is gone, and {one.name!r} with it")
            if text:
                await self._store.forget(one.name)
            await self._store.swap(one.name, "", one.to_json())

    def _keep(self, one: Scheduled) -> None:
        self.known[one.name] = one
        self._next[one.name] = 0.0 if one.claimed is not None else one.next_due()

    # ---- running -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run what is due, until cancelled."""
        guard = Guard("run what is due")
        while True:
            self._changed.clear()
            wake_at = self.clock() + _AGAIN_S  # where it fails
            with guard.one_pass():
                wake_at = await self.step()
            try:
                async with asyncio.timeout(max(0.0, min(wake_at - self.clock(), _LOOK_S))):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def step(self) -> float:
        """Run what is due by now; when to look again."""
        async with self._turn:
            now = self.clock()
            await self._correct(now)
            due = [name for name, at in self._next.items() if at <= now]
            again = False
            for at in range(0, len(due), _AT_ONCE):
                some = [self.known[name] for name in due[at : at + _AT_ONCE]]
                again = not await self._run_due(some, now) or again
            return now + _AGAIN_S if again else min(self._next.values(), default=_NEVER)

    async def _correct(self, now: float) -> None:
        ahead = [one for one in self.known.values() if one.corrected(now) is not None]
        if not ahead:
            return
        for one in await self._change_all(ahead, lambda found: found.corrected(now)):
            log.warning("goes on from now: the clock was wrong", extra=kv(schedule=one.name))

    async def _run_due(self, due: list[Scheduled], now: float) -> bool:
        """Run each for its latest due time; False where one is to be tried again."""
        known = self._finder.book.known
        here = [one for one in due if one.app in known]  # else just called otherwise
        ours = [one for one in here if one.claimed is not None]
        function_ids = {one.name: self._function_id(one) for one in here}

        def claim(found: Scheduled) -> Scheduled | None:
            due_at = found.due_now(now)
            if found.claimed is not None or due_at is None:
                return None  # another controller was first
            return found.claim(due_at, new_call_id(), function_ids[found.name])

        ours += await self._change_all([one for one in here if one.claimed is None], claim)

        async def submit(one: Scheduled) -> Run | None:
            assert one.claimed is not None
            return await self._submit(one, one.claimed)

        made = await asyncio.gather(*map(submit, ours))
        runs = {one.name: run for one, run in zip(ours, made, strict=True) if run is not None}
        await self._change_all(
            [one for one in ours if one.name in runs],
            lambda found: found.ran(runs[found.name]) if found.claimed else None,
        )
        return len(runs) == len(ours) and len(here) == len(due)

    async def _change_all(
        self, ones: list[Scheduled], change: Callable[[Scheduled], Scheduled | None]
    ) -> list[Scheduled]:
        """Those that were changed, as they are then: in one round trip, but for those that somebody
        else has changed meanwhile."""
        wanted = []
        for one in ones:
            if (changed := change(one)) is not None:
                wanted.append((one, changed))
            else:
                self._keep(one)
        done = await self._store.swap_all(
            [(one.name, one.to_json(), changed.to_json()) for one, changed in wanted]
        )
        made: list[Scheduled] = []
        for (one, changed), swapped in zip(wanted, done, strict=True):
            if swapped:
                self._keep(changed)
                made.append(changed)
                continue
            if (again := await self._change(await self._stored(one), change)) is not None:
                made.append(again)
        return made

    def _function_id(self, one: Scheduled) -> str:
        return self._finder.book.find(one.app).present.functions.get(one.function, "")

    async def _submit(self, one: Scheduled, run: Run) -> Run | None:
        """Put its call into the queue, where it is not there already; None: not now."""
        request = pb.SubmitRequest(
            call_id=run.call_id,
            function_id=run.function_id,
            inputs=[pb.Input(index=0, payload=one.schedule.payload)],
            last=True,
            submitted_ns=int(self.clock() * 1e9),
        )
        try:
            async with self._finder.routed(
                run.function_id, pinned=False, call_id=run.call_id
            ) as function:
                request.function_id = function.function_id
                await self._intake.submit(function, request)
        except (ServiceError, ResourceExhaustedError) as error:
            self._retries(one.name).failed(error, schedule=one.name)
            return None
        except Error as error:  # its app was stopped meanwhile, or has no such function any more
            log.warning("not run", extra=kv(schedule=one.name, due=run.due, reason=error))
            return dataclasses.replace(run, submitted=self.clock(), error=str(error))
        if (retries := self._not_submitted.pop(one.name, None)) is not None:
            retries.worked(schedule=one.name)
        log.info("run", extra=kv(schedule=one.name, due=run.due, call=run.call_id))
        return dataclasses.replace(run, submitted=self.clock(), function_id=request.function_id)

    def _retries(self, name: str) -> Retries:
        made = Retries(log, "not submitted yet", "submitted at last")
        return self._not_submitted.setdefault(name, made)

    async def run_now(self, app: str, function: str, call_id: str) -> Run:
        """Run one by hand, besides its times. Raises NotFoundError, and why it cannot be run."""
        deployment = self._finder.book.find(app)
        one = self.known.get(f"{deployment.name}/{function}")
        if one is None or not one.active:
            mine = [o.function for o in self.known.values() if o.app == app and o.active]
            raise NotFoundError(
                f"{function!r} of {app!r} has no schedule"
                + (f"; these have: {', '.join(sorted(mine))}" if mine else "")
            )
        known = next((run for run in one.runs if run.call_id == call_id), None)
        if known is not None:  # sent again
            return known
        run = Run(
            due=self.clock(), call_id=call_id, function_id=self._function_id(one), by_hand=True
        )
        made = await self._submit(one, run)
        if made is None:
            raise ServiceError("it cannot be submitted just now; try again")
        await self._change(
            one, lambda found: dataclasses.replace(found.ran(made), count=found.count + 1)
        )
        return made


def _readable(name: str, text: str) -> Scheduled | None:
    """One as it was stored; None where it is damaged, which is logged: it hides no others."""
    try:
        return Scheduled.from_json(text)
    except InternalFailure as error:
        log.error("a schedule begins anew", extra=kv(schedule=name, reason=error))
        return None
