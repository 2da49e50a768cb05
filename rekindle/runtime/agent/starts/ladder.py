"""The ladder: how a runner comes to be, by fork, restore or cold boot.

A step that fails falls to the next one, and says why. The steps themselves are forker.py's,
restorer.py's and booter.py's. Warm runners are the pool's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from rekindle.exception import (
    Error,
    RunnerLostError,
    SnapshotError,
    StartError,
    StrategyUnavailableError,
)
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts import gpu_freezing, gpu_restoring
from rekindle.runtime.agent.starts.booter import Booter, close_with
from rekindle.runtime.agent.starts.child import ForkedChild
from rekindle.runtime.agent.starts.dying_copies import KINDS
from rekindle.runtime.agent.starts.forker import (
    ForkEndedError,
    Forker,
    TemplateWentError,
    process_of,
)
from rekindle.runtime.agent.starts.pending import FirstClient, PendingStart
from rekindle.runtime.agent.starts.restorer import Restorer
from rekindle.runtime.agent.starts.revision_image import ensure_image, image_is_ready
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.runtime.agent.starts.template import LiveTemplate
from rekindle.wire.logs import kv
from rekindle.wire.phases import Phase, PhaseClock, Strategy

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Begun:
    """A start whose process has been told to become a runner already."""

    pending: PendingStart
    strategy: Strategy
    child: ForkedChild
    runner: Runner


@dataclass
class Starter(Forker, Restorer, Booter):
    """Starts runners of one pool."""

    _first: bool = True
    #: Why a strategy was passed over the last time.
    _last: str = ""

    def begin(self, client: FirstClient, began_ns: int) -> Begun | None:
        """Have a spare or a fork become a runner for a client at once, where nothing is to be
        waited for and nothing speaks against it; else the ladder does that, and says why."""
        revision = self.revision
        if (
            not self.may_begin()
            or revision.tracker.state is SnapshotState.UNKNOWN
            or (self._first and revision.tracker.state is not SnapshotState.READY)  # to be told
            or revision.gpu_tracker is not None
            or (template := revision.live_template()) is None
            or not image_is_ready(self.context, revision)
        ):
            return None
        pending = PendingStart(PhaseClock(began_ns), client)
        if template.other_python:
            pending.notes.append(template.other_python)
        _note_why_no_spare(pending, template)
        try:
            child = template.spares.take()
            strategy = Strategy.FORK if child is None else Strategy.SPARE
            child = child or template.fork()
            return self._begin_by(child, pending, strategy)
        except (StartError, RunnerLostError) as error:
            log.warning("start not begun", extra=kv(of=revision.label, reason=error))
            return None
        except Exception:  # the ladder answers for it, and its client is answered
            log.exception("start not begun", extra=kv(of=revision.label))
            return None

    def _begin_by(self, child: ForkedChild, pending: PendingStart, strategy: Strategy) -> Begun:
        try:
            process, outfit = process_of(child), child.take_outfit()
            runner = self.tell(child.name, process, pending, strategy, outfit)
        except BaseException:
            child.kill()
            raise
        return Begun(pending, strategy, child, runner)

    async def _end_begun(self, begun: Begun) -> Runner | None:
        """Its runner, once it is ready; None where the ladder is to go on with the start."""
        try:
            await self.until_child(begun.child, self.begun(begun.runner))
        except (StartError, RunnerLostError) as error:
            await self.note_death(begun.pending, begun.strategy, error)
            self._last = str(error)
            self._passed_over(begun.pending, begun.strategy, self._last, again=False)
            return None
        self._served(begun.pending, begun.strategy)
        begun.runner.notes = [*begun.pending.notes, *begun.runner.notes]
        return begun.runner

    async def start(
        self,
        forced: Strategy | None,
        began_ns: int,
        client: FirstClient | None = None,
        begun: Begun | None = None,
    ) -> Runner:
        """A runner that is ready, by the first step of the ladder that succeeds; ``begun``: one has
        been told already.

        With ``forced``, by that step or not at all: StrategyUnavailableError. Otherwise raises
        UserCodeFailed, StartupTimeoutError or StartError when even a cold boot fails. Where a layer
        of its image turns out to be lost meanwhile, it begins again, on one that is built.
        """
        with self.context.activity.start():
            if begun is not None and (runner := await self._end_begun(begun)) is not None:
                return runner
            pending, lost = PendingStart(PhaseClock(began_ns), client), 0
            if begun is not None:
                pending = begun.pending
            while True:
                try:
                    runner = await self._start(forced, pending)
                    runner.notes = [*pending.notes, *runner.notes]
                    return runner
                except Error as error:
                    await self.context.outlives_failure()
                    image, lost = self.revision.image, lost + 1
                    may_lack = isinstance(error, StartError | RunnerLostError)
                    if image is None or not may_lack or not self.context.layers.is_lost(image):
                        raise
                    if lost > len(image.lowers):  # each of them is lost once
                        raise
                    note = f"begun again: {error}"
                pending.notes.append(note)
                log.warning("start begun again", extra=kv(of=self.revision.label, reason=note))
                self.say(f"{self.revision.label}: {note}")

    async def _start(self, forced: Strategy | None, pending: PendingStart) -> Runner:
        self.gpus.check()
        if await ensure_image(self.context, self.revision, self.say):
            pending.clock.mark(Phase.IMAGE)
        if why := self.revision.why_other_python():
            pending.note(why)
        if forced is not None:
            return await self._start_forced(forced, pending)
        await self._look_for_snapshot(pending)
        self._note_without_gpu_snapshot(pending)
        revision = self.revision
        for kind in KINDS:
            if why := revision.dying.why_not(kind):
                pending.note(f"{kind} passed over: {why}")
        if (template := revision.live_template()) is not None:
            _note_why_no_spare(pending, template)
        for strategy, start, possible in (
            (Strategy.RESTORE, self.restore_on_gpu, self.has_gpu_snapshot),
            (Strategy.SPARE, self.spare, revision.has_spare),
            (Strategy.FORK, self.fork, revision.live_template),
            (Strategy.RESTORE, self.restore, revision.restorable),
        ):
            if not possible():
                continue
            try:
                runner = await start(pending)
                self._served(pending, strategy)
                return runner
            except (StartError, SnapshotError, RunnerLostError) as error:
                if start != self.restore_on_gpu:  # which counts its failures itself
                    await self.note_death(pending, strategy, error)
                again = isinstance(error, StrategyUnavailableError) and str(error) == self._last
                self._last = str(error)
                self._passed_over(pending, strategy, str(error), again=again)
        self._tell_refusal(pending)
        runner = await self._cold(pending)
        self._served(pending, runner.strategy)
        return runner

    async def _start_forced(self, strategy: Strategy, pending: PendingStart) -> Runner:
        if strategy is Strategy.WARM:
            raise StrategyUnavailableError("warm: no idle runner is there")
        pending.by_name = True
        try:
            if strategy is Strategy.COLD:  # who names it measures it, all of it
                return await self.boot_with_gpus(pending, whole=True)
            await self._look_for_snapshot(pending)
            if strategy is Strategy.SPARE and (template := self.revision.live_template()):
                await template.spares.coming()  # as the plan asks for them, one is
            on_gpu = self.has_gpu_snapshot()
            if strategy is Strategy.RESTORE:
                self._note_without_gpu_snapshot(pending)
            step = {
                Strategy.SPARE: self.spare,
                Strategy.FORK: self.fork,
                Strategy.RESTORE: self.restore_on_gpu if on_gpu else self.restore,
            }[strategy]
            return await step(pending)
        except StrategyUnavailableError:
            raise
        except (StartError, SnapshotError, RunnerLostError) as error:
            raise StrategyUnavailableError(f"{strategy}: {error}") from error

    async def _look_for_snapshot(self, pending: PendingStart) -> None:
        if not self.revision.snapshots_enabled:
            return
        tracker = self.revision.tracker
        known = tracker.state
        await tracker.look()
        on_gpu = self.revision.gpu_tracker
        if on_gpu is not None:
            await on_gpu.look()
        if tracker.state is not known:
            pending.clock.mark(Phase.IMAGE)
        if self._first:
            # Later refusals and failures are reported when they happen.
            self._first = False
            if tracker.state is SnapshotState.IMPOSSIBLE:
                self.say(f"no snapshot of {self.revision.label}: {tracker.reason}")
            elif on_gpu is not None and on_gpu.state is SnapshotState.IMPOSSIBLE:
                why = f"{on_gpu.reason}; {gpu_freezing.INSTEAD}"
                self.say(f"no GPU snapshot of {self.revision.label}: {why}")
        self._tell_refusal(pending)

    def _tell_refusal(self, pending: PendingStart) -> None:
        """What was done in the background may have found the snapshot broken before this start."""
        if why := self.revision.tracker.untold_refusal:
            self._passed_over(pending, Strategy.RESTORE, why)

    def _note_without_gpu_snapshot(self, pending: PendingStart) -> None:
        """Before any process is told to start: with that, its client is told the notes so far."""
        if self.revision.gpu_tracker is not None and not self.has_gpu_snapshot():
            pending.note(gpu_restoring.why_without(self.revision))

    def _passed_over(
        self, pending: PendingStart, strategy: Strategy, reason: str, *, again: bool = False
    ) -> None:
        """``again``: as the start before, so nobody needs to be told."""
        note = f"{strategy} passed over: {reason}"
        pending.notes.append(note)
        if strategy is Strategy.RESTORE:
            self.revision.tracker.untold_refusal = ""
        if again:
            return
        log.warning("strategy passed over", extra=kv(function=self.revision.label, note=note))
        self.say(f"{self.revision.label}: {note}")

    def _served(self, pending: PendingStart, strategy: Strategy) -> None:
        if why := self.revision.note_served(strategy, pending.deaths):
            log.warning("copies end", extra=kv(function=self.revision.label, reason=why))
            self.say(f"{self.revision.label}: it is started otherwise from now on: {why}")

    # ---- cold ------------------------------------------------------------------------------

    async def _cold(self, pending: PendingStart) -> Runner:
        """Boot. A function with snapshots gets a template on the way."""
        revision = self.revision
        if not revision.snapshots_enabled or revision.fork_unsafe or pending.deaths:
            return await self._boot_runner(pending, park=False)
        async with revision.booting:
            try:
                if revision.live_template() is not None:
                    # Another start booted it while we waited for our turn.
                    pending.clock.mark(Phase.QUEUE)
                    return await self.first_fork(pending, Strategy.FORK)
                if not revision.fork_unsafe:
                    return await self._boot_runner(pending, park=True)
            except (TemplateWentError, ForkEndedError) as error:
                self._passed_over(pending, Strategy.FORK, str(error))
        return await self._boot_runner(pending, park=False)

    async def _boot_runner(self, pending: PendingStart, *, park: bool) -> Runner:
        if not park:
            return await self.boot_with_gpus(pending)
        await ensure_image(self.context, self.revision)
        image = self.revision.image
        runner_id, output, booted = await self.boot_process(pending.clock, park=True)
        template = self.template_of_booted(booted)
        if self.revision.image is not image:
            pass  # what is forked of it would find the files of another build
        elif not template.fork_unsafe:
            self.keep(template)
            close_with(template, output)
            return await self.first_fork(pending, Strategy.COLD)
        else:
            self.note_unsafe(template)
        template.hand_over()
        return await self.become_booted(runner_id, output, booted, pending)


def _note_why_no_spare(pending: PendingStart, template: LiveTemplate) -> None:
    """Where some are to wait, and none comes to."""
    spares = template.spares
    if spares.wanted and spares.why_none and not spares.waiting:
        pending.note(f"spare passed over: {spares.why_none}")
