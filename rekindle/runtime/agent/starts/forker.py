"""Forks of one pool's live template: a runner of a spare, or of a child that is forked for it.

The ladder says when, and goes on where one does not become a runner.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from rekindle.exception import (
    GpuUnavailableError,
    RunnerLostError,
    StartError,
    StrategyUnavailableError,
)
from rekindle.runtime.agent.gpu_claims import Claim
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts import dying_copies
from rekindle.runtime.agent.starts.child import ForkedChild
from rekindle.runtime.agent.starts.pending import PendingStart
from rekindle.runtime.agent.starts.runner_maker import RunnerMaker
from rekindle.runtime.agent.starts.template import Process, TemplateStuckError
from rekindle.wire.phases import Strategy


class TemplateWentError(StrategyUnavailableError):
    """A template is not live any more that was to be forked."""


class ForkEndedError(StrategyUnavailableError):
    """A fork of the template that was just booted did not become a runner."""


@dataclass
class Forker(RunnerMaker):
    """Makes runners of one pool by forking its template."""

    async def spare(self, pending: PendingStart) -> Runner:
        """A runner of a spare that waits. Raises StrategyUnavailableError where none does, else
        StartError or RunnerLostError."""
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

    async def fork(self, pending: PendingStart) -> Runner:
        """A runner of a child that is forked now. Raises as ``spare``."""
        if self.revision.live_template() is None:
            raise StrategyUnavailableError(f"fork: {self.revision.why_no_fork()}")
        return await self._fork_of_live(pending, Strategy.FORK)

    async def _fork_of_live(self, pending: PendingStart, strategy: Strategy) -> Runner:
        """Once its GPUs are free: a child counts the time of its fork from then on.

        Raises TemplateWentError where none is live any more then: nothing holds it meanwhile.
        """
        claim = await self.claim_gpus(pending.clock)
        try:
            template = self.revision.live_template()
            if template is None:
                raise TemplateWentError("fork: its template went while a GPU was waited for")
            child = template.fork()
        except BaseException:
            self.not_used(claim, pending)
            raise
        return await self._become_child(child, pending, strategy, claim)

    async def first_fork(self, pending: PendingStart, strategy: Strategy) -> Runner:
        """Of a template that was booted a moment ago. Raises ForkEndedError where another process
        is to be booted instead."""
        try:
            return await self._fork_of_live(pending, strategy)
        except (TemplateWentError, GpuUnavailableError):
            raise
        except (StartError, RunnerLostError) as error:
            await self.note_death(pending, Strategy.FORK, error)
            raise ForkEndedError(str(error)) from error

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
        became = self.become(child.name, process_of(child), pending, strategy, outfit, claim)
        return await self.until_child(child, became)

    async def until_child(self, child: ForkedChild, ready: Awaitable[Runner]) -> Runner:
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

    async def note_death(self, pending: PendingStart, strategy: Strategy, error: Exception) -> None:
        """Where a step of a start failed as its process ended, or the template while it forked."""
        template = self.revision.template
        ended = isinstance(error, TemplateStuckError)
        if not ended and template is not None and template.gone.is_set() and not template.retired:
            ended = not await template.ended_from_outside()
        dying_copies.note(pending.deaths, strategy, error, template_ended=ended)


def process_of(child: ForkedChild) -> Process:
    return Process(child.channel, child.exit_status, child.kill, child.forked)
