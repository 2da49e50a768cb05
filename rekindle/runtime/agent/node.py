"""The node: its pools and revisions, and the inputs in flight.

Takes the controller's orders (link.py brings them) and hands results, lines and notes back.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from rekindle.exception import Error
from rekindle.runtime.agent import upkeep
from rekindle.runtime.agent.functions import Functions, OpenFunction, Uplink
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.assignment import Assignment, Cancel, InputState, Order
from rekindle.runtime.agent.inputs.blobs import Blobs, unfetched
from rekindle.runtime.agent.inputs.inflight import InFlight
from rekindle.runtime.agent.inputs.outcome import Batch
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.pools import places, slots
from rekindle.runtime.agent.pools.budget import Budget
from rekindle.runtime.agent.pools.plans import EVERY, Plans
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.pools.resting import Resting
from rekindle.runtime.agent.pools.stalls import Stalls
from rekindle.runtime.agent.revision import Revision, revision_key
from rekindle.runtime.agent.runners.runner import Runner, UserCodeFailed
from rekindle.runtime.agent.session.history import History, start_of
from rekindle.runtime.agent.starts.frozen import FrozenTemplate
from rekindle.runtime.agent.starts.preparing import prepare
from rekindle.runtime.agent.toolbox import Toolbox
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.messages import plan_of
from rekindle.wire.phases import Strategy, now_ns

log = logging.getLogger(__name__)

#: How often pools are tended when nothing happens.
TEND_S = 0.5
#: A snapshot that is being written when its app closes is given this long.
FREEZE_GRACE_S = 120.0


@dataclass
class Node:
    """All state of an agent."""

    tools: Toolbox
    uplink: Uplink
    pools: dict[tuple[str, str], Pool] = field(default_factory=dict)
    revisions: dict[str, Revision] = field(default_factory=dict)
    in_flight: InFlight = field(default_factory=InFlight)
    history: History = field(default_factory=History)
    #: Runners by id -> share of memory, of calls that asked for a strategy by name.
    measured_pss: dict[str, int] = field(default_factory=dict)
    plans: Plans = field(default_factory=Plans)
    resting: Resting = field(default_factory=Resting)
    stalls: Stalls = field(default_factory=Stalls)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.functions = Functions(self.tools, self.uplink)
        self.budget = Budget(self.tools.settings.memory_budget_bytes)
        #: Runners that clients call directly.
        self.leases = Leases(self)
        self.blobs = Blobs(self.tools.settings.instance_dir)
        self.in_flight.release = self.blobs.release

    # ---- orders of the controller ----------------------------------------------------------

    def assign(self, message: pb.Assign) -> None:
        """Inputs to run."""
        order = Order(
            call_id=message.call_id,
            function_id=message.function_id,
            app_id=message.app_id,
            params=message.params,
            strategy=Strategy(message.strategy) if message.strategy else None,
            submitted_ns=message.submitted_ns,
            received_ns=now_ns(),
            delivery=message.delivery,
            depth=message.depth,
            suspect=message.suspect,
        )
        inputs = self.in_flight.add(order, message.inputs)
        if not inputs:
            return
        pool = self.pool_of(order.function_id, order.params)
        if pool is not None:
            self._submit(pool, inputs)
        else:
            self._spawn(self._submit_to_new_pool(order, inputs))

    def _submit(self, pool: Pool, inputs: list[Assignment]) -> None:
        beside = [one for one in inputs if one.blob]
        if len(beside) < len(inputs):
            pool.submit([one for one in inputs if not one.blob] if beside else inputs)
        for one in beside:
            self._spawn(self._submit_fetched(pool, one))

    async def _submit_fetched(self, pool: Pool, one: Assignment) -> None:
        try:
            await self.blobs.fetch(one)
        except Error as error:
            if one.state is InputState.WAITING:
                self.done(outcome.of_one(one, unfetched(one, error)))
            return
        if one.state is InputState.WAITING:
            pool.submit([one])
        else:  # it was cancelled meanwhile
            self.blobs.release(one)

    def pool_of(self, function_id: str, params: bytes) -> Pool | None:
        """The pool of a function on this node, where there is one."""
        return self.pools.get((function_id, _digest(params)))

    async def _submit_to_new_pool(self, order: Order, inputs: list[Assignment]) -> None:
        pool: Pool | None = None
        failure: Error | None = None
        try:
            pool = await self._pool(order.function_id, order.params)
        except Error as error:
            failure = error
        # Some may have been cancelled meanwhile.
        inputs = [one for one in inputs if one.state is InputState.WAITING]
        if pool is not None:
            self._submit(pool, inputs)
        elif failure is not None:
            for one in inputs:
                self.done(outcome.of_one(one, outcome.start_failed(one, failure)))

    def acknowledged(self, order: pb.AckDone) -> None:
        """The controller has stored results."""
        was_full = self.in_flight.full
        self.in_flight.confirm(order.call_id, order.indexes)
        if was_full and self.may_run():
            for pool in list(self.pools.values()):
                pool.pump()

    def cancel(self, order: pb.CancelInputs) -> None:
        """Inputs that nobody wants any more; all of them get a result, CANCELLED."""
        by_pool: dict[int, tuple[Pool, list[Assignment]]] = {}
        for one in self.in_flight.find(order.call_id, order.indexes):
            pool = self.pool_of(one.order.function_id, one.order.params)
            if pool is not None:
                by_pool.setdefault(id(pool), (pool, []))[1].append(one)
            elif one.state is InputState.WAITING:  # its pool is being opened
                self.done(outcome.of_one(one, outcome.cancelled(one, "the input was cancelled")))
        for pool, inputs in by_pool.values():
            pool.dealer.cancel(inputs, kill=order.kill)

    def open(self, order: pb.OpenFunction) -> None:
        """An app was registered: get ready for its first call."""
        self._spawn(self._open(order.function_id))

    async def _open(self, function_id: str) -> None:
        try:
            opened = await self.functions.get(function_id)
            pool = await self._pool(function_id, b"")
        except Error as error:
            log.warning("open failed", extra=kv(function=function_id, reason=error))
            return
        if opened.spec.enable_memory_snapshot:
            await pool.revision.frozen.look()
            if pool.revision.frozen.snapshot is not None and self.tools.waiting is not None:
                self.tools.waiting.refill(after_s=0)
        pool.tend()

    def plan(self, order: pb.PlanPool) -> None:
        """What to hold of a pool, or of all pools of a function, from now on."""
        plan = plan_of(order.plan)
        digest = EVERY if order.every_instance else _digest(order.params)
        self.plans.keep(order.function_id, digest, plan)
        for key, pool in self.pools.items():
            if key[0] == order.function_id and (found := self.plans.find(key)) is not None:
                pool.sizing.order(found)
                pool.tend()
        key = (order.function_id, digest)
        if not order.every_instance and plan.runners and key not in self.pools:
            self._spawn(self._open_planned(order.function_id, order.params))

    async def _open_planned(self, function_id: str, params: bytes) -> None:
        try:
            (await self._pool(function_id, params)).tend()
        except Error as error:
            log.warning("plan not followed", extra=kv(function=function_id, reason=error))

    def close_app(self, order: pb.CloseAppOnAgent) -> None:
        """An app is closed: its pools go; tells the controller when they are gone."""
        self._spawn(self._close_app(order.app_id))

    async def _close_app(self, app_id: str) -> None:
        closing = [pool for pool in self.pools.values() if pool.app_id == app_id]
        await asyncio.gather(*(pool.close() for pool in closing))
        await self._finish_background([pool.revision for pool in closing])
        for key in [key for key, pool in self.pools.items() if pool in closing]:
            del self.pools[key]
        for function_id in self.functions.forget(app_id):
            self.plans.forget(function_id)
        self.uplink.send(pb.AgentMessage(app_closed=pb.AppClosed(app_id=app_id)))

    async def _finish_background(self, revisions: list[Revision]) -> None:
        """Let snapshots that are being written be written: the next run is quick for it."""
        tasks = {task for revision in revisions for task in revision.background}
        if tasks:
            await asyncio.wait(tasks, timeout=FREEZE_GRACE_S)

    def prepare(self, order: pb.PrepareOnAgent) -> None:
        """Make a strategy possible."""
        self._spawn(self._prepare(order))

    async def _prepare(self, order: pb.PrepareOnAgent) -> None:
        reason = ""
        try:
            pool = await self._pool(order.function_id, order.params)
            await prepare(pool, Strategy(order.strategy), order.timeout_s or 300.0)
        except (Error, UserCodeFailed) as error:
            reason = str(error)
        except TimeoutError:
            reason = f"{order.strategy} could not be prepared in {order.timeout_s:g} s"
        except Exception as error:
            # A bug of ours: the caller must not wait for ever, and the log must show it.
            log.exception("bug", extra=kv(function=order.function_id))
            reason = f"{type(error).__name__}: {error}"
        self.uplink.send(
            pb.AgentMessage(
                prepared=pb.PrepareDone(request_id=order.request_id, ok=not reason, reason=reason)
            )
        )

    # ---- pools -----------------------------------------------------------------------------

    async def _pool(self, function_id: str, params: bytes) -> Pool:
        function = await self.functions.get(function_id)
        key = (function_id, _digest(params))
        if key not in self.pools:
            revision = self._revision(function, params)
            self.pools[key] = pool = Pool(
                function_id=function_id,
                app_id=function.app_id,
                revision=revision,
                starter=self.functions.starter(function, revision),
                host=self,
                exit_grace_s=self.tools.settings.exit_grace_s,
            )
            if (plan := self.plans.find(key)) is not None:
                pool.sizing.order(plan)
            if revision.snapshots_enabled and (
                not await revision.frozen.refresh() or await revision.template_is_outdated()
            ):
                # A package or a file changed under a template that is alive.
                revision.drop_template()
            return pool
        return self.pools[key]

    def _revision(self, function: OpenFunction, params: bytes) -> Revision:
        may = set(function.spec.secrets_in_snapshot)
        in_snapshot = {k: v for k, v in function.secrets.items() if k in may}
        key = revision_key(function.spec, params, in_snapshot)
        revision = self.revisions.get(key)
        if revision is None:
            revision = Revision(
                spec=function.spec,
                code=function.code,
                params=params,
                source_dir=function.source_dir,
                frozen=FrozenTemplate(self.tools, function.spec, params, {}),
                secrets_in_snapshot=in_snapshot,
                withheld=(
                    tuple(sorted(set(function.secrets) - may))
                    if function.spec.enable_memory_snapshot
                    else ()
                ),
            )
            revision.frozen.env = revision.environment()
            self.revisions[key] = revision
        return revision

    # ---- what pools ask --------------------------------------------------------------------

    def room_for_runner(self, pool: Pool, *, ahead: bool) -> bool:
        """Whether one more runner fits; where not, an idle one of another pool may make room.

        For one that no input waits for, ``ahead``, only if its plan keeps it in any case, and only
        a runner that no plan keeps. The pool is pumped again when it may be worth it.
        """
        if self._places_taken(0 if ahead else pool.depth()) >= self._places(pool):
            if ahead and pool.size() + pool.starting >= pool.sizing.plan.runners:
                return False
            wait_s = slots.make_room(self.pools.values(), pool, ahead=ahead)
            if wait_s != 0:
                if wait_s is not None:
                    pool.pump_after(wait_s)
                elif not ahead:
                    self.leases.make_room(pool)
                return False
        return self.budget.room_for(self, pool, ahead=ahead)

    def _places(self, pool: Pool) -> int:
        return self.tools.settings.max_runners + pool.beyond

    def _places_taken(self, depth: int) -> int:
        """Runners that count against the node's limit, for an input at this depth.

        No more are left out than may wait at a time.
        """
        pools = self.pools.values()
        live = sum(pool.size() + pool.starting for pool in pools)
        if not depth:
            return live
        count = sum(places.taken(p.runners.values(), depth) + p.starting for p in pools)
        return max(count, live - self.tools.settings.max_waiting_runners)

    def may_run(self) -> bool:
        """Whether inputs may be run: no, while too many results are unconfirmed."""
        return not self.in_flight.full

    def done(self, batch: Batch) -> None:
        """Inputs of one call have their results."""
        if self.blobs.large(batch):
            self._spawn(self._put_aside(batch))
        else:
            self._done(batch)

    async def _put_aside(self, batch: Batch) -> None:
        await self.blobs.put_aside(batch)
        self._done(batch)

    def _done(self, batch: Batch) -> None:
        message = pb.AgentMessage()
        done = message.done
        settle = self.in_flight.settle
        for one, status, result in zip(batch.inputs, batch.statuses, batch.results, strict=True):
            if settle(one, status, result):
                done.indexes.append(one.index)
                done.statuses.append(status)  # type: ignore[arg-type]
                done.results.append(result)
        if not done.indexes:
            return  # second results of inputs that the controller has given up
        order = batch.order
        done.call_id, done.function_id, done.app_id = order.call_id, order.function_id, order.app_id
        done.execute_ns = batch.execute_ns
        self.uplink.send(message)

    def returned(self, assignment: Assignment, reason: str) -> None:
        """Its runner died under it."""
        log.warning("runner lost", extra=kv(input=assignment.input_id, reason=reason))
        self.in_flight.give_up(assignment)
        self.uplink.send(
            pb.AgentMessage(
                returned=pb.InputsReturned(
                    call_id=assignment.order.call_id,
                    indexes=[assignment.index],
                    reason=reason,
                    begun=[assignment.index],
                )
            )
        )

    def runner_gone(self, pool: Pool, runner: Runner) -> None:
        """A runner ended while it was its pool's: counted, unless it was to be."""
        if not runner.kill_reason:
            how = "died"
        elif runner.kill_for is None:
            return
        else:
            how = "timeout" if runner.kill_for.cancel is Cancel.NO else "cancelled"
        self.history.lost[pool.function_id, how] += 1

    def started(self, pool: Pool, runner: Runner | None, began_ns: int, error: str) -> None:
        """A start ended: it is recorded."""
        self.history.note(start_of(pool, runner, began_ns, error))

    def measured(self, runner_id: str, pss_bytes: int) -> None:
        """Remember what a runner of a call with a named strategy took."""
        self.measured_pss[runner_id] = pss_bytes
        while len(self.measured_pss) > 256:
            self.measured_pss.pop(next(iter(self.measured_pss)))

    # ---- life ------------------------------------------------------------------------------

    async def tend_forever(self) -> None:
        """Scale down, keep minimums, let old templates go; until cancelled."""
        while True:
            await asyncio.sleep(TEND_S)
            for pool in list(self.pools.values()):
                pool.tend()
            self.stalls.look(self)
            self.resting.tend(self.pools.values())
            upkeep.let_templates_go(self)

    async def keep_budget_forever(self) -> None:
        """Measure what is held, and give up what is over the memory budget; until cancelled."""
        while True:
            await asyncio.sleep(self.budget.memory.pause_s())
            await self.budget.look(self)

    async def close(self) -> None:
        """End everything, letting exit hooks run and snapshots be finished."""
        await asyncio.gather(*(pool.close() for pool in self.pools.values()))
        await self._finish_background(list(self.revisions.values()))
        await self.leases.close()
        for revision in self.revisions.values():
            revision.drop_template()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, self.functions.close(), return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._work_ended)

    def _work_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("bug", exc_info=task.exception())


def _digest(params: bytes) -> str:
    return hashlib.sha256(params).hexdigest() if params else ""
