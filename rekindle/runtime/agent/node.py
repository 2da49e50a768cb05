"""The node: takes the controller's orders (session/link.py brings them) to whom they concern.

Puts the agent's parts together. What there is on the node is in its inventory; who starts, stops
and makes room is the scheduler.
"""

from __future__ import annotations

import asyncio
import logging
import time

from rekindle import guarded_loops, paths
from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import Error, InternalFailure
from rekindle.guarded_loops import Guard
from rekindle.runtime.agent import closing, forced
from rekindle.runtime.agent.draining import Draining
from rekindle.runtime.agent.functions import Functions
from rekindle.runtime.agent.history import History
from rekindle.runtime.agent.input_receiver import InputReceiver
from rekindle.runtime.agent.inputs.blobs import Blobs
from rekindle.runtime.agent.inputs.inflight import InFlight
from rekindle.runtime.agent.inputs.outcome import UserCodeFailed
from rekindle.runtime.agent.inputs.results import Results
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.leases.first_clients import FirstClients
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.leases.local_clients import LocalClients
from rekindle.runtime.agent.leases.passed_on import PassedOn
from rekindle.runtime.agent.leases.requests import LeaseRequest
from rekindle.runtime.agent.pool_opener import PoolOpener
from rekindle.runtime.agent.pools.plan import EVERY, Plans
from rekindle.runtime.agent.scheduling import upkeep
from rekindle.runtime.agent.scheduling.budget import Budget
from rekindle.runtime.agent.scheduling.idle_levels import IdleLevels
from rekindle.runtime.agent.scheduling.resting import Resting
from rekindle.runtime.agent.scheduling.scheduler import Scheduler
from rekindle.runtime.agent.scheduling.spare_keeper import SpareKeeper
from rekindle.runtime.agent.scheduling.trials import Trials
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.stopping import Stopping
from rekindle.runtime.agent.uplink import Uplink
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.ending import AGENT_END_S
from rekindle.wire.logs import kv
from rekindle.wire.messages import plan_of
from rekindle.wire.phases import Strategy
from rekindle.wire.spec import params_digest

log = logging.getLogger(__name__)

#: How often pools are looked at when nothing happens.
RECONCILE_S = 0.5
_LEAVES = "its agent was told to end"


class Node:
    """The parts of an agent, and its orders."""

    def __init__(self, context: NodeContext, uplink: Uplink) -> None:
        settings = context.settings
        self.context = context
        self.uplink = uplink
        context.lines_wait = uplink.lines_wait
        self.inventory = Inventory(context.store)
        self.blobs = Blobs(settings.instance_dir)
        self.in_flight = InFlight(self.blobs.release)
        self.results = Results(self.in_flight, self.blobs, uplink)
        self.history = History()
        self.plans = Plans()
        self.functions = Functions(context, uplink)
        #: Runners that clients call directly.
        self.leases = Leases(paths.direct_socket(settings.instance_dir))
        first_clients = FirstClients(self.leases)
        self.passed_on = PassedOn(uplink, self.blobs)
        self.idle_levels = IdleLevels()
        self.budget = Budget(self.inventory, self.idle_levels, settings.memory_budget_bytes)
        self._tasks = BackgroundTasks()
        #: Orders to close an app that are being followed.
        self._closing: set[str] = set()
        self.spare_keeper = SpareKeeper(
            self.inventory, self.budget, context.activity, settings.max_runners, self._tasks
        )
        self.scheduler = Scheduler(
            *(self.inventory, self.leases, first_clients, self.budget, context.gpus, settings)
        )
        self.opener = PoolOpener(
            *(context, self.inventory, self.functions, self.plans, self.scheduler.agenda),
            *(self.results, self.history),
        )
        #: Orders that are about inputs.
        self.receiver = InputReceiver(
            *(self.in_flight, self.inventory, self.opener, self.blobs, self.results, self.leases),
            self._tasks,
        )
        self.blobs.on_room = self.receiver.may_run_again
        self.local_clients = LocalClients(
            *(self.leases, first_clients, self.inventory.pool_of, self.opener.pool),
            settings.instance_dir,
            self.functions.retired,
            self.passed_on.take,
            self.scheduler.agenda.act,
        )
        self.resting = Resting(self.inventory, self.leases.requests, settings.pool_rest_s)
        self.trials = Trials(self.scheduler.has_place)
        self.stopping = Stopping(self.inventory, self.leases, self._tasks)
        self.draining = Draining(self.inventory, self.functions, self.leases)

    def listen(self) -> None:
        """Listen for clients of this machine."""
        self.local_clients.listen()

    # ---- orders of the controller ----------------------------------------------------------

    def welcomed(self, welcome: pb.Welcome) -> None:
        """The controller has taken this agent in."""
        self.blobs.welcomed(welcome)
        self.leases.max_payload_bytes = welcome.max_payload_bytes

    def open(self, order: pb.OpenFunction) -> None:
        """An app was registered: get ready for its first call."""
        self._tasks.spawn(self._open(order.function_id, deployed=order.deployed))

    async def _open(self, function_id: str, *, deployed: bool) -> None:
        try:
            opened = await self.functions.get(function_id)
            pool = await self.opener.pool(function_id, b"")
        except Error as error:
            log.warning("open failed", extra=kv(function=function_id, reason=error))
            return
        if not opened.spec.image:  # whose Python is known when it is there
            pool.starter.tell_other_python()
        if opened.spec.enable_memory_snapshot:
            await pool.revision.tracker.look()
            if pool.revision.tracker.snapshot is not None and self.context.waiting is not None:
                self.context.waiting.refill(after_s=0)
            may_keep = not pool.closed and pool.keeper.may_keep_template()
            if deployed and may_keep and pool.revision.template is None:
                pool.keeper.keep_template()  # the next call of what stays may be long to come
        self.scheduler.reconcile(pool)

    def live(self, order: pb.AppIsLive) -> None:
        """A version that was tried is called from now on: its snapshots are due."""
        self.functions.went_live(order.app_id)
        for pool in self.inventory.pools.values():
            if pool.app_id == order.app_id:
                pool.went_live()

    def plan(self, order: pb.FollowPlan) -> None:
        """What to hold of a pool, or of all pools of a function, from now on.

        Without a plan: a pool has none of its own any more.
        """
        key = (order.function_id, EVERY if order.every_instance else params_digest(order.params))
        plan = plan_of(order.plan) if order.HasField("plan") else None
        if plan is not None:
            self.plans.keep(key, plan)
        else:
            self.plans.drop(key)
        for pool in self.inventory.pools.values():
            if pool.function_id == order.function_id and (found := self.plans.find(pool.key)):
                pool.sizing.order(found)
                self.scheduler.reconcile(pool)
        runners = plan.runners if plan is not None and not order.every_instance else 0
        if runners and key not in self.inventory.pools:
            self._tasks.spawn(self._open_planned(order.function_id, order.params))

    async def _open_planned(self, function_id: str, params: bytes) -> None:
        try:
            self.scheduler.reconcile(await self.opener.pool(function_id, params))
        except Error as error:
            log.warning("plan not followed", extra=kv(function=function_id, reason=error))

    def retire(self, order: pb.RetireApp) -> None:
        """No client begins a call of an app any more, but at the controller's word."""
        self.draining.begin(order.app_id)
        retired = pb.AppRetired(request_id=order.request_id)
        self.uplink.send(pb.AgentMessage(retired=retired))

    def close_app(self, order: pb.CloseAppOnAgent) -> None:
        """An app is closed: its pools go; the controller hears of it when they are gone."""
        if order.request_id and order.request_id in self._closing:
            return  # sent again over a newer connection
        self._closing.add(order.request_id)
        self._tasks.spawn(self._close_app(order))

    async def _close_app(self, order: pb.CloseAppOnAgent) -> None:
        try:
            await self._end_pools(order)
        finally:
            self._closing.discard(order.request_id)
        closed = pb.AppClosed(app_id=order.app_id, request_id=order.request_id)
        self.uplink.send(pb.AgentMessage(app_closed=closed))

    async def _end_pools(self, order: pb.CloseAppOnAgent) -> None:
        app_id = order.app_id
        if order.drain or order.recreate:
            await self.draining.end(app_id, at_once=order.recreate)
            return
        await self.draining.close(app_id)
        for those in (self.plans, self.history, self.context.gpu_use):
            those.forget(app_id)

    def tell_python(self, order: pb.TellPython) -> None:
        """Answer what is to be told of the Python that runs a function here."""
        self._tasks.spawn(self._tell_python(order))

    async def _tell_python(self, order: pb.TellPython) -> None:
        note = ""
        try:
            pool = await self.opener.pool(order.function_id, b"")
            if not pool.revision.spec.image:  # whose Python is known when it is there
                note = pool.revision.note_of_other_python()
        except Error as error:
            log.warning("open failed", extra=kv(function=order.function_id, reason=error))
        told = pb.PythonTold(request_id=order.request_id, note=note)
        self.uplink.send(pb.AgentMessage(python_told=told))

    def prepare(self, order: pb.PrepareOnAgent) -> None:
        """Make a strategy possible."""
        self._tasks.spawn(self._prepare(order))

    async def _prepare(self, order: pb.PrepareOnAgent) -> None:
        reason, late = "", False
        try:
            pool = await self.opener.pool(order.function_id, order.params)
            strategy, limit_s = Strategy(order.strategy), order.timeout_s or 300.0
            place = self.trials.place(pool, order)
            await forced.prepare(pool, self.leases, place, strategy, limit_s)
            if strategy is Strategy.WARM and (order.ends or self.scheduler.is_over()):
                forced.end_tried(pool, kept=not self.scheduler.is_over())
        except (Error, UserCodeFailed) as error:
            reason = str(error)
        except TimeoutError:
            reason, late = f"{order.strategy} was not ready in {order.timeout_s:g} s", True
        except Exception as error:
            # The caller must not wait for ever, and the log must show it.
            log.exception("internal error", extra=kv(function=order.function_id))
            reason = f"{type(error).__name__}: {error}"
        finally:
            self.trials.tried(order)
        if reason:
            await self.context.outlives_failure()
        self.uplink.send(
            pb.AgentMessage(
                prepared=pb.PrepareDone(
                    request_id=order.request_id, ok=not reason, reason=reason, late=late
                )
            )
        )

    def lease(self, order: pb.GrantLease) -> None:
        """A client asks, by way of the controller, for a runner of its own."""

        def answer(granted: pb.LeaseGranted | None) -> None:
            if granted is None:
                raise InternalFailure("a client of the controller has no connection here")
            granted.request_id = order.request_id
            self.uplink.send(pb.AgentMessage(lease=granted))

        request = LeaseRequest(
            order.lease_id,
            order.depth,
            order.max_payload_bytes,
            answer,
            Strategy(order.strategy) if order.strategy else None,
            order.measure,
            patient=order.patient,
        )
        self._tasks.spawn(self.lend(order.function_id, order.params, request))

    async def lend(self, function_id: str, params: bytes, request: LeaseRequest) -> None:
        """Serve a request; its answer comes with a pass of the pool."""
        try:
            pool = await self.opener.pool(function_id, params)
        except Error as error:
            request.refuse(str(error))
            return
        self.leases.add(pool, request)

    # ---- life ------------------------------------------------------------------------------

    async def reconcile_forever(self) -> None:
        """Scale down, keep minimums, let old templates go; until cancelled."""
        pools, resting = Guard("reconcile pools"), Guard("close pools at rest")
        levels, templates = Guard("keep levels"), Guard("end templates")
        while True:
            await asyncio.sleep(RECONCILE_S)
            with pools.one_pass():
                self.scheduler.reconcile_all()
            with resting.one_pass():
                self.resting.close_rested()
            with levels.one_pass():
                self.idle_levels.reconcile(self.inventory.pools.values())
            self.context.activity.changed.set()  # plans, levels and memory change, too
            with templates.one_pass():
                upkeep.let_templates_go(self.inventory, self.context.settings)

    async def keep_spares_forever(self) -> None:
        """Have as many spares wait as plans ask for; until cancelled."""
        await self.spare_keeper.keep_forever()

    async def keep_budget_forever(self) -> None:
        """Measure what is held, and give up what is over the memory budget; until cancelled."""

        async def look() -> None:
            await asyncio.sleep(self.budget.memory.pause_s())
            await self.budget.look()

        await guarded_loops.repeat("keep the memory budget", look)

    async def watch_gpus_forever(self) -> None:
        """Measure what runners use of GPUs, where there are any; until cancelled."""
        if not self.context.gpus.found.gpus:
            return

        async def look() -> None:
            runners = {
                runner.id: (runner.channel.pid, pool.function_id)
                for pool in self.inventory.pools.values()
                for runner in pool.runners.values()
            }
            await asyncio.sleep(await self.context.gpu_use.measure(runners))

        await guarded_loops.repeat("watch GPUs", look)

    async def close(self) -> None:
        """End everything, letting exit hooks run and snapshots be finished.

        What waits or runs goes back to the controller, and is counted against no input. Snapshots
        have no more time than leaves some for the rest: who told this agent to end kills it.
        """
        self.context.ends_by = time.monotonic() + AGENT_END_S
        until = self.context.ends_by - closing.LAST_STEPS_S
        self.results.leaving = _LEAVES
        self.uplink.leave(_LEAVES)
        pools = self.inventory.pools.values()
        await asyncio.gather(*(closing.close_pool(self.leases, pool) for pool in pools))
        left_s = max(0.0, until - time.monotonic())
        await closing.finish_snapshots(self.inventory.revisions.values(), left_s)
        await self.leases.close()
        await self.local_clients.close()
        await self.passed_on.close()
        for revision in self.inventory.revisions.values():
            revision.shut()
        await asyncio.gather(self._tasks.cancel(), self.results.close(), self.functions.close())
