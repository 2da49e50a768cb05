"""The starts of one pool's runners: counted while they last, recorded, and told of where they fail.

How a runner starts is the ladder's (starts/ladder.py); whether one is to be started, for what waits
or for the pool's plan, the scheduler's to decide. What a start has come to is an event of the pool.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import Error, GpuUnavailableError, InternalFailure
from rekindle.runtime.agent.history import History, start_of
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.outcome import StartFailure, UserCodeFailed
from rekindle.runtime.agent.pools.backoff import Backoff
from rekindle.runtime.agent.pools.dispatcher import InputDispatcher
from rekindle.runtime.agent.pools.endable_starts import EndableStarts
from rekindle.runtime.agent.pools.events import Event, StartEnded
from rekindle.runtime.agent.pools.ramp import Ramp
from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.runtime.agent.starts.ladder import Begun, Starter
from rekindle.runtime.agent.starts.pending import FirstClient
from rekindle.wire.logs import kv
from rekindle.wire.phases import Strategy, now_ns

log = logging.getLogger(__name__)


@dataclass(eq=False)
class RunnerStarts:
    """See the module."""

    _function_id: str
    _starter: Starter
    _history: History
    _runners: RunnerSet
    _dispatcher: InputDispatcher
    _backoff: Backoff
    _tasks: BackgroundTasks
    _publish: Callable[[Event], None]
    _exit_grace_s: float
    ramp: Ramp = field(default_factory=Ramp)
    #: The error of a start that no input waited for: for a client that waits, if one does.
    _unclaimed: StartFailure | None = None

    def __post_init__(self) -> None:
        label = self._starter.revision.label
        #: By a strategy's name, or to try a version; and those that the scheduler orders.
        self.unscheduled = EndableStarts(label)
        self._scheduled = EndableStarts(label)

    # ---- begun by the scheduler ----------------------------------------------------------------

    def begin(self, client: FirstClient | None = None, strategy: Strategy | None = None) -> None:
        """Begin one, for a client where one is given, by a strategy where that asks for it.

        What fails is the client's, or the result of the input that waits longest.
        """
        self._runners.starting += 1
        self._runners.promised += client is not None
        young = self.ramp.begun() if client is None else 0.0
        began_ns, begun = now_ns(), None
        if client is not None and strategy is None:
            begun = self._starter.begin(client, began_ns)
        self._tasks.spawn(self._to_its_end(client, strategy, young, began_ns, begun))

    async def _to_its_end(
        self,
        client: FirstClient | None,
        strategy: Strategy | None,
        young: float,
        began_ns: int,
        begun: Begun | None,
    ) -> None:
        made = False
        try:
            runner = await self._scheduled.run(self._start(strategy, began_ns, client, begun))
        except (Error, UserCodeFailed) as error:
            if self._dispatcher.closed and begun is not None:  # it may not have had its turn yet
                begun.child.kill()
            if strategy is None and not self._dispatcher.closed:
                self._failed(error, claimed=client is not None)
            if client is not None:
                client.failed(error)
        else:
            if strategy is None:
                made = True
                self._backoff.started()
                ready_ns = runner.marks[-1][1] if runner.marks else runner.ready_ns
                self._dispatcher.pace.started((ready_ns - began_ns) / 1e9)
                self.ramp.started(began_ns, runner.marks)
            if self._dispatcher.closed:
                if client is not None:
                    client.withdrawn()
                await runner.stop(self._exit_grace_s)
                return
            runner.private = runner.private or strategy is not None
            self.welcome(runner)
            if client is not None:
                client.served(runner)
        finally:
            self.ramp.ended(young)
            self._runners.starting -= 1
            self._runners.promised -= client is not None
            self._starter.gpus.start_failed(self._runners.starting)
        self._publish(StartEnded(made))

    # ---- by a strategy's name ------------------------------------------------------------------

    async def by(self, strategy: Strategy) -> Runner:
        """A runner by exactly this strategy, for one client or input alone.

        Raises Error or UserCodeFailed.
        """
        runner = await self.unscheduled.run(self._start(strategy, now_ns()))
        runner.private = True
        self.welcome(runner)
        return runner

    # ---- each of them --------------------------------------------------------------------------

    async def _start(
        self,
        strategy: Strategy | None,
        began_ns: int,
        client: FirstClient | None = None,
        begun: Begun | None = None,
    ) -> Runner:
        """A runner, by this strategy or by the first that succeeds; the start is recorded.

        ``client``: whose connection goes to it; ``begun``: it has been told already. Raises Error
        or UserCodeFailed.
        """
        runner, failure, revision = None, "", self._starter.revision
        try:
            runner = await self._starter.start(strategy, began_ns, client, begun)
            return runner
        except (Error, UserCodeFailed) as error:
            failure = str(error)
            raise
        except Exception as error:
            # The caller must not wait for ever, and the log must show it.
            log.exception("internal error", extra=kv(function=revision.label))
            failure = f"{type(error).__name__}: {error}"
            raise InternalFailure(failure) from error
        finally:
            if runner is not None or failure:
                start = start_of(self._function_id, revision, runner, began_ns, failure)
                self._history.note(start)

    def welcome(self, runner: Runner) -> None:
        """Take in a runner that is ready."""
        self._runners[runner.id] = runner
        self._dispatcher.listen_to(runner)
        if runner.state is RunnerState.GONE:  # already
            self._dispatcher.runner_ended(runner)
            return
        runner.exit_status.add_done_callback(lambda _status: runner.lost())

    # ---- whose a failure is --------------------------------------------------------------------

    def _failed(self, error: StartFailure, *, claimed: bool) -> None:
        """``claimed``: it is a client's, and no input's unless all have it."""
        waiting = self._dispatcher.waiting
        if not claimed:
            self._unclaimed = None if waiting else error
        label = self._starter.revision.label
        log.warning("start failed", extra=kv(function=label, reason=error))
        self._backoff.start_failed()
        # User code that raises will raise again; another error may have been this start's alone.
        every = isinstance(error, UserCodeFailed | GpuUnavailableError) or self._backoff.is_loop
        self._dispatcher.fail_waiting(
            lambda one: outcome.start_failed(one, error),
            len(waiting) if every else int(not claimed),
        )

    def fail_next(self, error: Error) -> None:
        """Give the input that is next up; where none waits, the client that does gets the error."""
        if not self._dispatcher.waiting:
            self._unclaimed = error
            self._publish(StartEnded(made=False))
        self._dispatcher.fail_waiting(lambda one: outcome.start_failed(one, error), 1)

    def take_failure(self) -> StartFailure | None:
        """The error of the last start, where no input got it; given once."""
        error, self._unclaimed = self._unclaimed, None
        return error

    # ---- the pool ends -------------------------------------------------------------------------

    def end_scheduled(self) -> None:
        """Those that the scheduler has ordered end."""
        self._scheduled.end()

    async def finish(self) -> None:
        """Wait until all have ended."""
        await self.unscheduled.finish()
        await self._scheduled.finish()
