"""Cold boots of one pool: makes a runner, or a template, of a process that boots (boot.py).

Brings the output, the secrets and the GPUs of such a process together. The ladder says when.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rekindle.exception import StartError, StrategyUnavailableError
from rekindle.runtime.agent.gpu_claims import Claim
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts.boot import Booted, boot, template_of
from rekindle.runtime.agent.starts.first_report import KilledEarlyError
from rekindle.runtime.agent.starts.outfit import Outfit
from rekindle.runtime.agent.starts.pending import PendingStart
from rekindle.runtime.agent.starts.revision_image import BUILT_ANEW, ensure_image
from rekindle.runtime.agent.starts.runner_maker import RunnerMaker
from rekindle.runtime.agent.starts.template import LiveTemplate, Process, new_id
from rekindle.runtime.agent.starts.waiting_boots import WaitingBoot
from rekindle.wire.logs import kv
from rekindle.wire.phases import PhaseClock, Strategy

log = logging.getLogger(__name__)


@dataclass
class Booter(RunnerMaker):
    """Makes runners of one pool by booting them."""

    async def boot_process(
        self,
        clock: PhaseClock,
        *,
        park: bool,
        env: Mapping[str, str] = MappingProxyType({}),
        whole: bool = False,
    ) -> tuple[str, Output, Booted]:
        """A process that has loaded its code: its runner id, its output, and itself.

        ``whole``: boot it from nothing, and take none that has booted ahead. One that is killed
        before it has run any user code is booted once more.

        Raises as ``boot`` does, StartError for code that the Python here cannot run.
        """
        if why := self.revision.why_not_by_python():
            raise StartError(f"{self.revision.label} cannot run: {why}")
        self.tell_other_python()
        late = {} if self.revision.snapshots_enabled else await self.secrets_now()
        secrets = {**late, **env}
        try:
            return await self._boot_once(clock, park=park, secrets=secrets, whole=whole)
        except KilledEarlyError as error:
            log.warning("booted once more", extra=kv(function=self.revision.label, reason=error))
        return await self._boot_once(clock, park=park, secrets=secrets, whole=True)

    async def _boot_once(
        self, clock: PhaseClock, *, park: bool, secrets: Mapping[str, str], whole: bool
    ) -> tuple[str, Output, Booted]:
        waiting = None if whole else await self._booted_ahead(secrets)
        if waiting is None:
            runner_id = new_id("ru")
            output = self.output_of(runner_id)
        else:
            runner_id, output = waiting.id, waiting.output
            output.redirect(lambda line: self.on_line(line, runner_id, ""))
        try:
            booted = await boot(
                self.context,
                self.revision,
                output,
                clock,
                hostname=runner_id,
                park=park,
                secrets=secrets,
                waiting=waiting,
            )
        except BaseException:
            output.close()
            raise
        return runner_id, output, booted

    def tell_other_python(self) -> None:
        """Say, once a revision, that its processes do not run by its program's Python, and what to
        do: when its app is registered, or at its first start."""
        revision = self.revision
        if not revision.other_python_told and (note := revision.note_of_other_python()):
            revision.other_python_told = True
            log.warning("another Python", extra=kv(function=revision.label, reason=note))
            self.say(f"{revision.label}: {note}")

    async def _booted_ahead(self, secrets: Mapping[str, str]) -> WaitingBoot | None:
        """A process that has booted ahead, where this function can have it: one with an image,
        volumes or GPUs needs them from its boot on."""
        revision = self.revision
        if revision.spec.image or revision.spec.volumes or revision.spec.gpu:
            return None
        env = {**revision.boot_environment(), **secrets}
        return await self.context.waiting_boots.take(revision.interpreter(), env)

    async def boot_with_gpus(self, pending: PendingStart, *, whole: bool = False) -> Runner:
        """Boot what is never forked: its modules may use its GPUs while they are imported."""
        claim = await self.claim_gpus(pending.clock)
        try:
            runner_id, output, booted = await self.boot_process(
                pending.clock, park=False, env=claim.given.env, whole=whole
            )
            return await self.become_booted(runner_id, output, booted, pending, claim)
        except BaseException:
            self.gpus.drop(claim)
            raise

    async def become_booted(
        self,
        runner_id: str,
        output: Output,
        booted: Booted,
        pending: PendingStart,
        claim: Claim | None = None,
    ) -> Runner:
        """Make a process that has booted a runner; ``output`` is what it prints."""
        process = Process(booted.channel, booted.exit_status, booted.sandbox.kill)
        try:
            outfit = Outfit.around(output)
        except BaseException:
            booted.sandbox.kill()
            raise
        return await self.become(runner_id, process, pending, Strategy.COLD, outfit, claim)

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
                raise StrategyUnavailableError(f"fork: {BUILT_ANEW}")
            if template.fork_unsafe:
                self.note_unsafe(template)
                template.sandbox.kill()
                raise StrategyUnavailableError(f"fork: {self.revision.why_no_fork()}")
            self.keep(template)
            self.context.activity.changed.set()
            return template

    def template_of_booted(self, booted: Booted) -> LiveTemplate:
        """Make a process that has booted a template, and note in its revision whether that can be
        forked and frozen."""
        template = template_of(booted)
        self.revision.fork_unsafe = template.fork_unsafe
        self.revision.dump_unsafe = template.dump_unsafe
        return template

    def note_unsafe(self, template: LiveTemplate) -> None:
        """Say why a template is not forked."""
        reasons = "; ".join(template.fork_unsafe)
        log.warning("not safe to fork", extra=kv(function=self.revision.label, reasons=reasons))
        how = "each runner boots cold" if template.dump_unsafe else "runners are restored"
        self.say(f"{self.revision.label}: its template is not forked, {how} ({reasons})")


def close_with(template: LiveTemplate, output: Output) -> None:
    """Keep reading what a template prints until it is gone."""
    template.sandbox.gone.add_done_callback(lambda _gone: output.close())
