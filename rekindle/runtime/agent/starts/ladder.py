"""The ladder: how a runner comes to be, by fork, restore or cold boot.

A step that fails falls to the next one, and says why. Warm runners are the pool's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rekindle.exception import (
    RunnerLostError,
    ServiceError,
    SnapshotError,
    SnapshotRestoreError,
    StartError,
    StrategyUnavailableError,
)
from rekindle.runtime.agent.gpus import Claim, PoolGpus
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts.boot import Booted, boot, template_of
from rekindle.runtime.agent.starts.child import ForkedChild
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.outfit import Outfit
from rekindle.runtime.agent.starts.pending import FirstClient, PendingStart
from rekindle.runtime.agent.starts.restoring import bring_back
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.runtime.agent.starts.template import LiveTemplate, Process, new_id
from rekindle.runtime.agent.starts.volumes import binds_of, written
from rekindle.runtime.isolation.sandbox import Sandbox
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.frames import Header
from rekindle.wire.logs import kv
from rekindle.wire.phases import Phase, PhaseClock, Strategy

log = logging.getLogger(__name__)


@dataclass
class Starter:
    """Starts runners of one pool."""

    context: NodeContext
    revision: Revision
    #: What a runner gets when it becomes one: after a template was frozen.
    runner_env: Mapping[str, str]
    #: Gives its secrets as they are now: a runner gets them with that, and a process that is never
    #: frozen has them while it imports its modules. Raises Error.
    secrets: Callable[[], Awaitable[Mapping[str, str]]]
    #: A line that a runner wrote: (line, runner id, call id).
    on_line: Callable[[pb.LogLine, str, str], None]
    #: A note to the app's user.
    say: Callable[[str], None]
    #: What its runners need of GPUs, and what is reserved for them.
    gpus: PoolGpus
    _first: bool = True

    async def start(
        self, forced: Strategy | None, began_ns: int, client: FirstClient | None = None
    ) -> Runner:
        """A runner that is ready, by the first step of the ladder that succeeds.

        With ``forced``, by that step or not at all: StrategyUnavailableError. Otherwise raises
        UserCodeFailed, StartupTimeoutError or StartError when even a cold boot fails.
        """
        with self.context.activity.start():
            return await self._start(forced, PendingStart(PhaseClock(began_ns), client))

    async def _start(self, forced: Strategy | None, pending: PendingStart) -> Runner:
        self.gpus.check()
        if forced is not None:
            return await self._start_forced(forced, pending)
        await self._look_for_snapshot(pending)
        revision, runner = self.revision, None
        for strategy, start, possible in (
            (Strategy.SPARE, self._spare, revision.has_spare),
            (Strategy.FORK, self._fork, revision.live_template),
            (Strategy.RESTORE, self._restore, lambda: revision.tracker.snapshot),
        ):
            if not possible():
                continue
            try:
                runner = await start(pending)
                break
            except (StartError, SnapshotError, RunnerLostError) as error:
                self._passed_over(pending, strategy, str(error))
        if runner is None:
            runner = await self._cold(pending)
        runner.notes = [*pending.notes, *runner.notes]
        return runner

    async def _start_forced(self, strategy: Strategy, pending: PendingStart) -> Runner:
        if strategy is Strategy.WARM:
            raise StrategyUnavailableError("warm: no idle runner is there")
        try:
            if strategy is Strategy.COLD:
                return await self._boot_runner(pending, park=False)
            await self._look_for_snapshot(pending)
            if strategy is Strategy.SPARE and (template := self.revision.live_template()):
                await template.spares.coming()  # as the plan asks for them, one is
            step = {
                Strategy.SPARE: self._spare,
                Strategy.FORK: self._fork,
                Strategy.RESTORE: self._restore,
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
        if tracker.state is not known:
            pending.clock.mark(Phase.IMAGE)
        if self._first:
            # Later refusals and failures are reported when they happen.
            self._first = False
            if tracker.state is SnapshotState.IMPOSSIBLE:
                self.say(f"no snapshot of {self.revision.label}: {tracker.reason}")
            elif tracker.state is SnapshotState.ABSENT and tracker.refused:
                self._passed_over(pending, Strategy.RESTORE, tracker.reason)

    def _passed_over(self, pending: PendingStart, strategy: Strategy, reason: str) -> None:
        note = f"{strategy} passed over: {reason}"
        pending.notes.append(note)
        log.warning("strategy passed over", extra=kv(function=self.revision.label, note=note))
        self.say(f"{self.revision.label}: {note}")

    # ---- spare and fork --------------------------------------------------------------------

    async def _spare(self, pending: PendingStart) -> Runner:
        template = self.revision.live_template()
        child = template.spares.take() if template is not None else None
        if child is None:
            raise StrategyUnavailableError(f"spare: {self.revision.why_no_spare()}")
        return await self._become_child(child, pending, Strategy.SPARE)

    async def _fork(self, pending: PendingStart) -> Runner:
        template = self.revision.live_template()
        if template is None:
            raise StrategyUnavailableError(f"fork: {self.revision.why_no_fork()}")
        return await self._become_child(template.fork(), pending, Strategy.FORK)

    async def _become_child(
        self, child: ForkedChild, pending: PendingStart, strategy: Strategy
    ) -> Runner:
        """A runner of a child that waits, or that finds its start as soon as it is forked."""
        process = Process(child.channel, child.exit_status, child.kill, child.forked)
        try:
            outfit = child.take_outfit()
            runner = await self._become(child.name, process, pending, strategy, outfit)
            await child.forked  # before it said that it is ready, or as good as
        except (RunnerLostError, StartError, OSError) as error:
            child.kill()
            if child.forked.done() and (why := child.forked.exception()) is not None:
                raise why from error
            raise
        except BaseException:
            child.kill()
            raise
        return runner

    # ---- restore ---------------------------------------------------------------------------

    async def _restore(self, pending: PendingStart) -> Runner:
        async with self.context.restoring.turn(self.revision.label) as waited:
            if waited:
                pending.clock.mark(Phase.QUEUE)
            return await self._restore_now(pending)

    async def _restore_now(self, pending: PendingStart) -> Runner:
        tracker = self.revision.tracker
        snapshot = await tracker.usable()
        if snapshot is None:
            raise StrategyUnavailableError(f"restore: {self.revision.why_no_restore()}")
        outfit = Outfit.make()
        try:
            back = await bring_back(self.context, self.revision, snapshot, pending.clock)
        except SnapshotRestoreError as error:
            outfit.close()
            tracker.refuse(str(error))
            raise
        except BaseException:
            outfit.close()
            raise
        exit_status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        _follow_adopted(back.sandbox, snapshot.manifest.pid, exit_status)
        process = Process(back.reported(), exit_status, back.sandbox.kill)
        runner = await self._become(back.id, process, pending, Strategy.RESTORE, outfit)
        self.context.restores[runner.id] = restore_steps(pending.clock, back.arrived_ns)
        return runner

    async def restore_template(self) -> LiveTemplate:
        """Restore the snapshot as a template to fork from. Raises StartError or SnapshotError."""
        snapshot = await self.revision.tracker.usable()
        if snapshot is None:
            raise StrategyUnavailableError(f"restore: {self.revision.why_no_restore()}")
        if snapshot.manifest.fork_unsafe:
            self.revision.fork_unsafe = snapshot.manifest.fork_unsafe
            raise StrategyUnavailableError(f"fork: {self.revision.why_no_fork()}")
        back = await bring_back(self.context, self.revision, snapshot, PhaseClock())
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
        template.listen()
        self.revision.fork_unsafe = []
        self.revision.keep(template)
        self.context.activity.changed.set()
        return template

    # ---- cold ------------------------------------------------------------------------------

    async def _cold(self, pending: PendingStart) -> Runner:
        """Boot. A function with snapshots gets a template on the way."""
        revision = self.revision
        if not revision.snapshots_enabled or revision.fork_unsafe:
            return await self._boot_runner(pending, park=False)
        async with revision.booting:
            if revision.live_template() is not None:
                # Another start booted it while we waited for our turn.
                pending.clock.mark(Phase.QUEUE)
                return await self._fork(pending)
            if not revision.fork_unsafe:
                return await self._boot_runner(pending, park=True)
        return await self._boot_runner(pending, park=False)

    async def boot_template(self) -> LiveTemplate:
        """Boot a template without a runner. Raises as ``start`` does."""
        async with self.revision.booting:
            template = self.revision.live_template()
            if template is not None:
                return template
            _runner_id, output, booted = await self._boot(PhaseClock(), park=True)
            template = self._template_of(booted)
            _close_with(template, output)
            if template.fork_unsafe:
                self._note_unsafe(template)
                template.sandbox.kill()
                raise StrategyUnavailableError(f"fork: {self.revision.why_no_fork()}")
            self.revision.keep(template)
            self.context.activity.changed.set()
            return template

    async def _boot(
        self, clock: PhaseClock, *, park: bool, env: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[str, Output, Booted]:
        runner_id = new_id("ru")
        output = self._output(runner_id)
        try:
            booted = await boot(
                self.context,
                self.revision,
                output,
                clock,
                hostname=runner_id,
                park=park,
                secrets={
                    **({} if self.revision.snapshots_enabled else await self._secrets()),
                    **env,
                },
            )
        except BaseException:
            output.close()
            raise
        return runner_id, output, booted

    async def _boot_runner(self, pending: PendingStart, *, park: bool) -> Runner:
        if not park:
            return await self._boot_with_gpus(pending)
        runner_id, output, booted = await self._boot(pending.clock, park=True)
        template = self._template_of(booted)
        if not template.fork_unsafe:
            self.revision.keep(template)
            _close_with(template, output)
            return await self._become_child(template.fork(), pending, Strategy.COLD)
        self._note_unsafe(template)
        await template.hand_over()
        process = Process(booted.channel, booted.exit_status, booted.sandbox.kill)
        outfit = Outfit.around(output)
        return await self._become(runner_id, process, pending, Strategy.COLD, outfit)

    async def _boot_with_gpus(self, pending: PendingStart) -> Runner:
        """Boot what is never forked: its modules may use its GPUs while they are imported."""
        claim = await self.gpus.claim(self.revision.spec.startup_timeout_s)
        try:
            runner_id, output, booted = await self._boot(
                pending.clock, park=False, env=claim.given.env
            )
            process = Process(booted.channel, booted.exit_status, booted.sandbox.kill)
            outfit = Outfit.around(output)
            return await self._become(runner_id, process, pending, Strategy.COLD, outfit, claim)
        except BaseException:
            self.gpus.drop(claim)
            raise

    def _template_of(self, booted: Booted) -> LiveTemplate:
        template = template_of(booted)
        self.revision.fork_unsafe = template.fork_unsafe
        self.revision.dump_unsafe = template.dump_unsafe
        return template

    def _note_unsafe(self, template: LiveTemplate) -> None:
        reasons = "; ".join(template.fork_unsafe)
        log.warning("not safe to fork", extra=kv(function=self.revision.label, reasons=reasons))
        how = "each runner boots cold" if template.dump_unsafe else "runners are restored"
        self.say(f"{self.revision.label}: its template is not forked, {how} ({reasons})")

    # ---- what all have in common -----------------------------------------------------------

    async def _secrets(self) -> Mapping[str, str]:
        """As they are now. Raises StartError."""
        try:
            return await self.secrets()
        except ServiceError as error:
            raise StartError(str(error)) from error

    def _output(self, runner_id: str) -> Output:
        return Output(lambda line: self.on_line(line, runner_id, ""))

    async def _become(
        self,
        runner_id: str,
        process: Process,
        pending: PendingStart,
        strategy: Strategy,
        outfit: Outfit,
        claim: Claim | None = None,
    ) -> Runner:
        """Tell a process to become a runner, and wait until it is ready.

        Its output goes to it with the order, unless it has had that since it booted. ``claim``: its
        GPUs, where it has known of them since then.
        """
        output, page = outfit.output, outfit.page
        runner = Runner(
            *(runner_id, strategy, process.channel, output, page, process.exit_status),
            *(process.end, pending.clock.start_ns, pending.clock.marks),
        )
        output.page = page
        output.redirect(lambda line: self.on_line(line, runner_id, runner.current_call()))
        try:
            timeout_s = self.revision.spec.startup_timeout_s
            if claim is None:
                claim = await self.gpus.claim(timeout_s)
            if claim.owner and process.there is not None:
                await process.there  # its devices are held by its process id
            self.gpus.take_over(claim, runner_id, process.channel.pid)
            runner.gpus = claim.given.uuids
            env = {
                **self.runner_env,
                **await self._secrets(),
                **claim.given.env,
                "REKINDLE_RUNNER_ID": runner_id,
            }
            order: Header = {"op": "start", "env": env, "hidden": claim.given.hidden}
            if self.revision.spec.volumes:
                order["volumes"] = await binds_of(self.revision.spec)
            fds = outfit.descriptors
            if (client := pending.client) is not None:
                order["lease"] = client.offer(runner, pending.notes)
                fds.append(client.sock.fileno())
            if runner.channel.is_open:
                runner.channel.send_with_fds(order, fds)
            else:
                runner.channel.open(order, fds)
            outfit.handed_over()
            await runner.become_ready(timeout_s)
            if self.revision.spec.volumes:
                gone = self.context.volume_pushes.use(written(self.revision.spec))
                runner.on_gone["volumes"] = gone
        except BaseException as error:
            runner.kill("start failed")
            if claim is not None:
                self.gpus.drop(claim)
            if isinstance(error, OSError):
                raise StartError(f"a new runner closed its connection: {error}") from error
            raise
        return runner


def _follow_adopted(sandbox: Sandbox, pid: int, exit_status: asyncio.Future[int]) -> None:
    """A restored process is no one's job: its init adopts it and reports how it ends."""

    def ended(which: int, status: int) -> None:
        if which == pid and not exit_status.done():
            exit_status.set_result(status)

    sandbox.on_adopted_exit(ended)
    sandbox.gone.add_done_callback(lambda _gone: ended(pid, -9))


def restore_steps(clock: PhaseClock, arrived_ns: int) -> dict[str, float]:
    """The steps of one restore in ms: ``spawn_criu`` (zero where one waited), ``criu`` (to the
    first instruction of the process), ``resume`` (to its report) and ``reseed``."""
    at = {"start": clock.start_ns, **dict(clock.marks)}
    awake_ns = at[Phase.RESTORE.value]
    steps = {
        "spawn_criu": at[Phase.ISOLATE.value] - at["start"],
        "criu": awake_ns - at[Phase.ISOLATE.value],
        "resume": arrived_ns - awake_ns,
        "reseed": at[Phase.RESEED.value] - arrived_ns,
    }
    return {name: max(0, ns) / 1e6 for name, ns in steps.items()}


def _close_with(template: LiveTemplate, output: Output) -> None:
    """Keep reading what a template prints until it is gone."""
    template.sandbox.gone.add_done_callback(lambda _gone: output.close())
