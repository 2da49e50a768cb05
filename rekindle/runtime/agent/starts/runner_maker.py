"""Makes a process the runner of a pool: its start frame, its GPUs, its output, until it is ready.

The process may be a forked child, a restored copy or one that has booted: the ladder chooses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from rekindle.exception import ServiceError, StartError
from rekindle.linux.plain_descriptors import close_all
from rekindle.runtime.agent.gpu_claims import Claim
from rekindle.runtime.agent.pool_gpus import PoolGpus
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.runners.slots import Slots
from rekindle.runtime.agent.starts import in_image, template
from rekindle.runtime.agent.starts.gpu_holders import User
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.outfit import Outfit
from rekindle.runtime.agent.starts.pending import PendingStart
from rekindle.runtime.agent.starts.restoring import follow_adopted, restore_steps
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.template import LiveTemplate, Process
from rekindle.runtime.agent.starts.volumes import binds_and_written
from rekindle.runtime.agent.starts.waiting import WaitingRestore
from rekindle.snapshot.store import Snapshot
from rekindle.wire import gpu_environment, runner_variables
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.frames import Header
from rekindle.wire.page import untagged
from rekindle.wire.phases import Phase, PhaseClock, Strategy, now_ns

#: A runner that a client waits for says that it is ready in less, where the machine is not busy:
#: until then it, and its client, have the processors for themselves.
_REST_S = {Strategy.SPARE: 0.003, Strategy.FORK: 0.008}


@dataclass
class RunnerMaker:
    """Makes runners of one pool out of processes."""

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
    #: Its secrets where they never change; None: they are asked for.
    known_secrets: Mapping[str, str] | None = None

    async def secrets_now(self) -> Mapping[str, str]:
        """Its secrets. Raises StartError."""
        try:
            return await self.secrets()
        except ServiceError as error:
            raise StartError(str(error)) from error

    def on_loading_line(self, line: pb.LogLine) -> None:
        """What a process prints that is no runner yet."""
        self.on_line(line, "", "")

    def output_of(self, runner_id: str) -> Output:
        """What a process prints, as that of this runner. Raises StartError."""
        return Output(lambda line: self.on_line(line, runner_id, ""))

    def mark(self, runner: Runner, call_id: str) -> None:
        """Have the log show that all lines of a call, or of the start, have come."""
        runner.output.drain(runs_on=runner.slots is not None)
        self.on_line(pb.LogLine(stream="mark", at_ns=now_ns()), runner.id, call_id)

    async def become_restored(
        self,
        back: WaitingRestore,
        snapshot: Snapshot,
        pending: PendingStart,
        outfit: Outfit,
        claim: Claim | None = None,
    ) -> Runner:
        """A runner of a restored copy; otherwise as ``become``."""
        exit_status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        follow_adopted(back.sandbox, snapshot.manifest.pid, exit_status)
        process = Process(back.reported(), exit_status, back.sandbox.kill)
        runner = await self.become(back.id, process, pending, Strategy.RESTORE, outfit, claim)
        if not snapshot.manifest.gpus:
            self.context.restores[runner.id] = restore_steps(pending.clock, back.arrived_ns)
        return runner

    async def claim_gpus(self, clock: PhaseClock) -> Claim:
        """What one start gets; see PoolGpus.claim. What others hold of it is gone.

        Marks ``clock``: it is waited for, so no process of the start may be there already that
        makes marks of its own meanwhile.
        """
        claim = await self.gpus.claim(self.revision.spec.startup_timeout_s)
        try:
            await self.context.gpu_holders.make_room(claim, self.revision.gpu_name)
        except BaseException:
            self.gpus.drop(claim)
            raise
        if claim.owner:
            clock.mark(Phase.QUEUE)
        return claim

    def not_used(self, claim: Claim, pending: PendingStart) -> None:
        """A step failed before a process had its GPUs: the next step has them, if there is one."""
        if pending.by_name:
            self.gpus.drop(claim)
        else:
            self.gpus.put_back(claim)

    def _why_lost(self) -> str:
        """Where memory of the snapshot, or a layer of the image, could not be read from the store:
        then nobody is to be started from what has it."""
        if why := self.context.layers.why_lost(self.revision.image):
            self.revision.drop_template()
            return why
        stored, tracker = self.context.stored, self.revision.tracker
        why = stored.why_lost(tracker.snapshot) if stored is not None else ""
        if why:
            self.revision.drop_template()
            tracker.refuse(f"snapshot refused: {why}")
        return why

    def _connect_holder(self, runner: Runner, claim: Claim, env: dict[str, str]) -> list[int]:
        """A runner's end of a connection to the holder of its first GPU, if there is to be one."""
        spec, holders = self.revision.spec, self.context.gpu_holders
        if not claim.given.devices or gpu_environment.HOLDER in spec.env:
            return []

        def lost() -> None:
            runner.kill("the process that held its weights on the GPU ended")

        user = User(runner.id, self.revision.gpu_name, self.revision.label, lost)
        fd = holders.connect(claim.given.devices[0], user)
        env[gpu_environment.REVISION] = user.revision
        runner.on_gone["holder"] = lambda: holders.forget(runner.id)
        return [fd] if fd >= 0 else []

    async def become(
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
        runner = self._made(runner_id, process, pending, strategy, outfit)
        held: list[int] = []
        try:
            timeout_s = self.revision.spec.startup_timeout_s
            if claim is None:
                claim = await self.claim_gpus(pending.clock)
            if claim.owner and process.there is not None:
                await process.there  # its devices are held by its process id
            self.gpus.take_over(claim, runner_id, process.channel.pid)
            runner.gpus = claim.given.uuids
            env = {**await self.secrets_now(), **claim.given.env}
            held = self._connect_holder(runner, claim, env)
            order: Header = {"hidden": claim.given.hidden, "holder": bool(held)}
            if runner.slots is not None:
                spec = self.revision.spec
                order["many"] = {"max_batch_size": spec.max_batch_size, "wait_ms": spec.wait_ms}
            if self.revision.spec.volumes:
                binds, written = await binds_and_written(self.revision.spec)
                if self.revision.image is not None:
                    binds = in_image.seen_there(binds, self.revision.spec.volumes)
                order["volumes"] = binds
                gone = self.context.volume_pushes.use(written)
                runner.on_gone["volumes"] = gone
                if runner.dying:  # since before that: nobody else says that it is gone
                    gone()
            self._tell(runner, order, env, pending, outfit, held)
            close_all(held)
            held = []
            await runner.become_ready(timeout_s)
        except BaseException as error:
            close_all(held)
            if claim is not None:
                self.gpus.drop(claim)
            self._failed(runner, error)
            raise
        return runner

    def may_begin(self) -> bool:
        """Whether all that a start tells a runner is at hand: then ``tell`` can be called."""
        spec = self.revision.spec
        return self.known_secrets is not None and not (spec.gpu or spec.volumes or spec.takes_many)

    def tell(
        self,
        runner_id: str,
        process: Process,
        pending: PendingStart,
        strategy: Strategy,
        outfit: Outfit,
    ) -> Runner:
        """Tell a process to become a runner, without waiting for anything: ``begun`` does, for its
        being ready. Raises StartError."""
        nothing = self.gpus.claim_nothing()
        assert nothing is not None and self.known_secrets is not None
        runner = self._made(runner_id, process, pending, strategy, outfit)
        try:
            order: Header = {"hidden": nothing.given.hidden, "holder": False}
            env = {**self.known_secrets, **nothing.given.env}
            self._tell(runner, order, env, pending, outfit, [])
            runner.channel.rest(_REST_S[strategy])  # its client is told by it, not by us
        except BaseException as error:
            self._failed(runner, error)
            raise
        return runner

    async def begun(self, runner: Runner) -> Runner:
        """A runner that ``tell`` has told, once it is ready. Raises as ``become``."""
        try:
            await runner.become_ready(self.revision.spec.startup_timeout_s)
        except BaseException as error:
            self._failed(runner, error)
            raise
        return runner

    def _failed(self, runner: Runner, error: BaseException) -> None:
        """A start has: end its process. Raises StartError for an error of the connection."""
        runner.kill("start failed")
        if isinstance(error, OSError):
            raise StartError(f"a new runner closed its connection: {error}") from error

    def _made(
        self,
        runner_id: str,
        process: Process,
        pending: PendingStart,
        strategy: Strategy,
        outfit: Outfit,
    ) -> Runner:
        """The runner that a process is to become."""
        output, page = outfit.output, outfit.page
        runner = Runner(
            *(runner_id, strategy, process.channel, output, page, process.exit_status),
            *(process.end, pending.clock.start_ns, pending.clock.marks),
        )
        output.page = page
        runner.why_lost = self._why_lost
        if process.there is not None:
            runner.renewed_within_s = template.FORK_TIMEOUT_S
        elif strategy is Strategy.RESTORE:  # its memory may have to be fetched first
            runner.renewed_within_s = self.revision.spec.startup_timeout_s
        if self.revision.spec.takes_many:
            runner.slots = Slots(self.revision.spec.slots)

        def on_line(line: pb.LogLine) -> None:
            process.channel.end_rest()  # who waits for the call waits for what it prints, too
            if runner.slots is None:
                self.on_line(line, runner_id, runner.current_call())
            else:
                for call_id, part in _by_call(line):
                    self.on_line(part, runner_id, call_id)

        output.redirect(on_line)
        output.held_up = self.context.lines_wait
        runner.handlers["mark"] = lambda header, _body: self.mark(runner, str(header["call_id"]))
        return runner

    def _tell(
        self,
        runner: Runner,
        order: Header,
        env: Mapping[str, str],
        pending: PendingStart,
        outfit: Outfit,
        held: list[int],
    ) -> None:
        """Give the order to start: with the variables of this start, ``env``, and those of all that
        the process does not have yet. Raises OSError."""
        env = {**self.own_env(), **env, runner_variables.RUNNER_ID: runner.id}
        has = outfit.env
        order["op"] = "start"
        order["env"] = {name: value for name, value in env.items() if has.get(name) != value}
        fds = [*outfit.descriptors, *held]
        if (client := pending.client) is not None and client.waits:
            order["lease"] = client.offer(runner, pending.notes)
            fds.append(client.sock.fileno())
        if runner.channel.is_open:
            runner.channel.send_with_fds(order, fds)
        else:
            runner.channel.open(order, fds)
        outfit.handed_over()

    def own_env(self) -> Mapping[str, str]:
        """What all of its runners have in their environment."""
        return self.runner_env if self.revision.image is None else in_image.own(self.runner_env)

    def keep(self, template: LiveTemplate) -> None:
        """Keep a template for later forks: its spares are given what runners have."""
        template.spares.env = self.own_env()
        template.other_python = self.revision.why_other_python()
        self.revision.keep(template)


def _by_call(line: pb.LogLine) -> Iterator[tuple[str, pb.LogLine]]:
    """What the calls of a runner with slots wrote: it tags each line with the call."""
    tagged = [untagged(text) for text in line.text.split("\n")]
    start = 0
    for index in range(1, len(tagged) + 1):
        if index < len(tagged) and tagged[index][0] == tagged[start][0]:
            continue
        part = pb.LogLine()
        part.CopyFrom(line)
        part.text = "\n".join(text for _, text in tagged[start:index])
        part.partial = line.partial and index == len(tagged)
        yield tagged[start][0], part
        start = index
