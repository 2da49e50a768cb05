"""The ladder: how a runner comes to be, by fork, restore or cold boot.

A step that fails falls to the next one, and says why. Warm runners are the pool's.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rekindle.exception import (
    Error,
    GpuUnavailableError,
    RunnerLostError,
    SnapshotError,
    SnapshotRestoreError,
    StartError,
    StrategyUnavailableError,
)
from rekindle.runtime.agent.gpu_claims import Claim
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts import dying_copies, gpu_freezing, gpu_restoring
from rekindle.runtime.agent.starts.booter import Booter, close_with
from rekindle.runtime.agent.starts.child import ForkedChild
from rekindle.runtime.agent.starts.dying_copies import KINDS
from rekindle.runtime.agent.starts.outfit import Outfit
from rekindle.runtime.agent.starts.pending import FirstClient, PendingStart
from rekindle.runtime.agent.starts.restoring import bring_back
from rekindle.runtime.agent.starts.revision_image import ensure_image, image_is_ready
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.runtime.agent.starts.template import (
    LiveTemplate,
    Process,
    TemplateStuckError,
    new_id,
)
from rekindle.runtime.agent.starts.waiting import WaitingRestore
from rekindle.snapshot.store import Snapshot
from rekindle.wire.logs import kv
from rekindle.wire.phases import Phase, PhaseClock, Strategy

log = logging.getLogger(__name__)

_BUILT_ANEW = "its image was built anew at this moment"


class _TemplateWentError(StrategyUnavailableError):
    """A template is not live any more that was to be forked."""


class _ForkEndedError(StrategyUnavailableError):
    """A fork of the template that was just booted did not become a runner."""


@dataclass(eq=False)
class Begun:
    """A start whose process has been told to become a runner already."""

    pending: PendingStart
    strategy: Strategy
    child: ForkedChild
    runner: Runner


@dataclass
class Starter(Booter):
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
            process, outfit = _process_of(child), child.take_outfit()
            runner = self.tell(child.name, process, pending, strategy, outfit)
        except BaseException:
            child.kill()
            raise
        return Begun(pending, strategy, child, runner)

    async def _end_begun(self, begun: Begun) -> Runner | None:
        """Its runner, once it is ready; None where the ladder is to go on with the start."""
        try:
            await self._until_child(begun.child, self.begun(begun.runner))
        except (StartError, RunnerLostError) as error:
            self._note_death(begun.pending, begun.strategy, error)
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
        for strategy, start, possible in (
            (Strategy.RESTORE, self._restore_on_gpu, self._has_gpu_snapshot),
            (Strategy.SPARE, self._spare, revision.has_spare),
            (Strategy.FORK, self._fork, revision.live_template),
            (Strategy.RESTORE, self._restore, revision.restorable),
        ):
            if not possible():
                continue
            try:
                runner = await start(pending)
                self._served(pending, strategy)
                return runner
            except (StartError, SnapshotError, RunnerLostError) as error:
                if start != self._restore_on_gpu:  # which counts its failures itself
                    self._note_death(pending, strategy, error)
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
            on_gpu = self._has_gpu_snapshot()
            if strategy is Strategy.RESTORE:
                self._note_without_gpu_snapshot(pending)
            step = {
                Strategy.SPARE: self._spare,
                Strategy.FORK: self._fork,
                Strategy.RESTORE: self._restore_on_gpu if on_gpu else self._restore,
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
        if self.revision.gpu_tracker is not None and not self._has_gpu_snapshot():
            pending.note(gpu_restoring.why_without(self.revision))

    def _not_used(self, claim: Claim, pending: PendingStart) -> None:
        """A step failed before a process had its GPUs: the next step has them, if there is one."""
        if pending.by_name:
            self.gpus.drop(claim)
        else:
            self.gpus.put_back(claim)

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

    def _note_death(self, pending: PendingStart, strategy: Strategy, error: Exception) -> None:
        template = self.revision.template
        ended = template is not None and template.gone.is_set() and not template.retired
        ended |= isinstance(error, TemplateStuckError)
        dying_copies.note(pending.deaths, strategy, error, template_ended=ended)

    def _served(self, pending: PendingStart, strategy: Strategy) -> None:
        if why := self.revision.note_served(strategy, pending.deaths):
            log.warning("copies end", extra=kv(function=self.revision.label, reason=why))
            self.say(f"{self.revision.label}: it is started otherwise from now on: {why}")

    # ---- spare and fork --------------------------------------------------------------------

    async def _spare(self, pending: PendingStart) -> Runner:
        template = self.revision.live_template()
        claim = self.gpus.claim_context()
        if (
            template is None
            or (child := template.spares.take(claim.owner if claim is not None else "")) is None
        ):
            if claim is not None:
                self.gpus.drop(claim)  # the spare that held it has ended, or is about to
            raise StrategyUnavailableError(f"spare: {self.revision.why_no_spare()}")
        return await self._become_child(child, pending, Strategy.SPARE, claim)

    async def _fork(self, pending: PendingStart) -> Runner:
        if self.revision.live_template() is None:
            raise StrategyUnavailableError(f"fork: {self.revision.why_no_fork()}")
        return await self._fork_of_live(pending, Strategy.FORK)

    async def _fork_of_live(self, pending: PendingStart, strategy: Strategy) -> Runner:
        """Once its GPUs are free: a child counts the time of its fork from then on.

        Raises _TemplateWentError where none is live any more then: nothing holds it meanwhile.
        """
        claim = await self.claim_gpus(pending.clock)
        try:
            template = self.revision.live_template()
            if template is None:
                raise _TemplateWentError("fork: its template went while a GPU was waited for")
            child = template.fork()
        except BaseException:
            self._not_used(claim, pending)
            raise
        return await self._become_child(child, pending, strategy, claim)

    async def _first_fork(self, pending: PendingStart, strategy: Strategy) -> Runner:
        """Of a template that was booted a moment ago. Raises _ForkEndedError where another process
        is to be booted instead."""
        try:
            return await self._fork_of_live(pending, strategy)
        except (_TemplateWentError, GpuUnavailableError):
            raise
        except (StartError, RunnerLostError) as error:
            self._note_death(pending, Strategy.FORK, error)
            raise _ForkEndedError(str(error)) from error

    async def _become_child(
        self,
        child: ForkedChild,
        pending: PendingStart,
        strategy: Strategy,
        claim: Claim | None = None,
    ) -> Runner:
        """A runner of a child that waits, or that finds its start as soon as it is forked."""
        try:
            outfit = child.take_outfit()
        except StartError:
            child.kill()
            if claim is not None:
                self.gpus.drop(claim)
            raise
        became = self.become(child.name, _process_of(child), pending, strategy, outfit, claim)
        return await self._until_child(child, became)

    async def _until_child(self, child: ForkedChild, ready: Awaitable[Runner]) -> Runner:
        """Wait until a child is a runner."""
        runner = None
        try:
            runner = await ready
            await child.forked  # before it said that it is ready, or as good as
        except (RunnerLostError, StartError, OSError) as error:
            child.kill()
            if runner is not None:
                runner.kill("start failed")  # its client may have been told by it already
            if child.forked.done() and (why := child.forked.exception()) is not None:
                raise why from error
            raise
        except BaseException:
            child.kill()
            if runner is not None:
                runner.kill("start failed")
            raise
        return runner

    # ---- restore ---------------------------------------------------------------------------

    async def _restore(self, pending: PendingStart) -> Runner:
        claim = await self.claim_gpus(pending.clock)
        async with AsyncExitStack() as turn:
            try:
                place = self.context.restoring.turn(self.revision.label)
                if await turn.enter_async_context(place):
                    pending.clock.mark(Phase.QUEUE)
                back, snapshot, outfit = await self._brought_back(pending)
            except BaseException:
                self._not_used(claim, pending)
                raise
            return await self.become_restored(back, snapshot, pending, outfit, claim)

    async def _brought_back(self, pending: PendingStart) -> tuple[WaitingRestore, Snapshot, Outfit]:
        tracker, image = self.revision.tracker, self.revision.image
        snapshot = await tracker.usable()
        if snapshot is None:
            raise StrategyUnavailableError(f"restore: {self.revision.why_no_restore()}")
        outfit = Outfit.make()
        try:
            back = await bring_back(self.context, self.revision, snapshot, pending.clock)
        except SnapshotRestoreError as error:
            outfit.close()
            stored = self.context.stored
            why = stored.why_lost(snapshot) if stored is not None else ""
            tracker.refuse(f"{error}: {why}" if why else str(error))
            if why:
                raise SnapshotRestoreError(f"{error}: {why}") from error
            raise
        except BaseException:
            outfit.close()
            raise
        if self.revision.image is not image:
            outfit.close()
            back.discard()
            raise StrategyUnavailableError(f"restore: {_BUILT_ANEW}")
        return back, snapshot, outfit

    def _has_gpu_snapshot(self) -> bool:
        tracker = self.revision.gpu_tracker
        return tracker is not None and tracker.snapshot is not None

    async def _restore_on_gpu(self, pending: PendingStart) -> Runner:
        tracker = self.revision.gpu_tracker
        snapshot = await tracker.usable() if tracker is not None else None
        if snapshot is None:
            raise StrategyUnavailableError("restore: there is no GPU snapshot")
        outfit = Outfit.make()
        context, revision, claim = self.context, self.revision, None
        try:
            claim = await self.claim_gpus(pending.clock)
            async with context.restoring.turn(revision.label):
                back = await gpu_restoring.bring_back_on_gpu(
                    context, revision, snapshot, claim, pending.clock
                )
        except BaseException as error:
            outfit.close()
            if claim is not None:
                self._not_used(claim, pending)
            if isinstance(error, SnapshotRestoreError):
                gpu_restoring.failed(revision, error)
            raise
        try:
            runner = await self.become_restored(back, snapshot, pending, outfit, claim)
        except (StartError, RunnerLostError) as error:
            gpu_restoring.failed(revision, error)
            raise
        revision.gpu_failures, runner.of_gpu_snapshot = 0, True
        return runner

    async def restore_template(self) -> LiveTemplate:
        """Restore the snapshot as a template to fork from. Raises StartError or SnapshotError."""
        await ensure_image(self.context, self.revision)
        image = self.revision.image
        snapshot = await self.revision.tracker.usable()
        if snapshot is None:
            raise StrategyUnavailableError(f"restore: {self.revision.why_no_restore()}")
        if snapshot.manifest.fork_unsafe:
            self.revision.fork_unsafe = snapshot.manifest.fork_unsafe
            raise StrategyUnavailableError(f"fork: {self.revision.why_no_fork()}")
        before = self.revision.template
        back = await bring_back(self.context, self.revision, snapshot, PhaseClock())
        if self.revision.image is not image:
            back.discard()
            raise StrategyUnavailableError(f"fork: {_BUILT_ANEW}")
        there = self.revision.live_template()
        if there is not None and there.mapped and there is not before:  # restored meanwhile
            back.discard()
            return there
        channel = back.reported()
        channel.open(takes_fds=True)
        template = LiveTemplate(
            new_id("te"),
            back.sandbox,
            channel,
            {"fork_unsafe": [], "dump_unsafe": [], "threads": []},
            snapshot.manifest.loaded_files,
            mapped=back.mapped,
        )
        if back.root is not None and back.roots is not None:
            template.lives_in(back.root, back.roots)
        template.listen()
        self.revision.fork_unsafe = []
        self.keep(template)
        self.context.activity.changed.set()
        return template

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
                    return await self._first_fork(pending, Strategy.FORK)
                if not revision.fork_unsafe:
                    return await self._boot_runner(pending, park=True)
            except (_TemplateWentError, _ForkEndedError) as error:
                self._passed_over(pending, Strategy.FORK, str(error))
        return await self._boot_runner(pending, park=False)

    async def boot_template(self) -> LiveTemplate:
        """Boot a template without a runner. Raises as ``start`` does."""
        async with self.revision.booting:
            template = self.revision.live_template()
            if template is not None:
                return template
            await ensure_image(self.context, self.revision)
            image = self.revision.image
            _runner_id, output, booted = await self.boot_process(PhaseClock(), park=True)
            template = self.template_of_booted(booted)
            close_with(template, output)
            if self.revision.image is not image:
                template.sandbox.kill()
                raise StrategyUnavailableError(f"fork: {_BUILT_ANEW}")
            if template.fork_unsafe:
                self.note_unsafe(template)
                template.sandbox.kill()
                raise StrategyUnavailableError(f"fork: {self.revision.why_no_fork()}")
            self.keep(template)
            self.context.activity.changed.set()
            return template

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
            return await self._first_fork(pending, Strategy.COLD)
        else:
            self.note_unsafe(template)
        template.hand_over()
        return await self.become_booted(runner_id, output, booted, pending)


def _process_of(child: ForkedChild) -> Process:
    return Process(child.channel, child.exit_status, child.kill, child.forked)
