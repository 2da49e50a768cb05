"""Inputs that the controller assigns to this node, on their way to their pools; and what it says of
them later.

A payload that lies in the blob store is fetched before, a pool that is not there is opened. Knows
nothing of how a pool runs them.
"""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import Error
from rekindle.runtime.agent import forced
from rekindle.runtime.agent.inputs import outcome
from rekindle.runtime.agent.inputs.assignment import Assignment, AssignmentState, Order
from rekindle.runtime.agent.inputs.blobs import Blobs, unfetched
from rekindle.runtime.agent.inputs.inflight import InFlight
from rekindle.runtime.agent.inputs.results import Results
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.pool_opener import PoolOpener
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy, now_ns


@dataclass(eq=False)
class InputReceiver:
    """The controller's orders that are about inputs."""

    _in_flight: InFlight
    _inventory: Inventory
    _opener: PoolOpener
    _blobs: Blobs
    _results: Results
    _leases: Leases
    _tasks: BackgroundTasks

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
            others_wait=message.others_wait,
        )
        inputs = self._in_flight.add(order, message.inputs)
        if not inputs:
            return
        pool = self._inventory.pool_of(order.function_id, order.params)
        if pool is not None:
            self._submit(pool, inputs)
        else:
            self._tasks.spawn(self._submit_to_new_pool(order, inputs))

    def _submit(self, pool: Pool, inputs: list[Assignment]) -> None:
        stored = [one for one in inputs if one.blob]
        if len(stored) < len(inputs):
            self._give(pool, [one for one in inputs if not one.blob] if stored else inputs)
        for one in stored:
            self._tasks.spawn(self._submit_fetched(one))

    def _give(self, pool: Pool, inputs: list[Assignment]) -> None:
        strategy = inputs[0].order.strategy
        if strategy is None:
            pool.submit(inputs)
            return
        for one in inputs:
            self._tasks.spawn(pool.staying(forced.run(pool, self._leases, one, strategy)))

    async def _submit_fetched(self, one: Assignment) -> None:
        order = one.order
        try:
            await self._blobs.fetch(one)
        except Error as error:
            if one.state is AssignmentState.WAITING:
                self._results.one(one, unfetched(one, error))
            return
        try:  # its pool may be another one by now
            pool = self._inventory.pool_of(order.function_id, order.params)
            pool = pool or await self._opener.pool(order.function_id, order.params)
        except Error as error:
            if one.state is AssignmentState.WAITING:
                self._results.one(one, outcome.start_failed(one, error))
            return
        if one.state is AssignmentState.WAITING:
            self._give(pool, [one])
        else:  # it was cancelled meanwhile
            self._blobs.release(one)

    async def _submit_to_new_pool(self, order: Order, inputs: list[Assignment]) -> None:
        def left() -> list[Assignment]:  # some may have been cancelled meanwhile
            return [one for one in inputs if one.state is AssignmentState.WAITING]

        try:
            pool = await self._opener.pool(order.function_id, order.params)
        except Error as error:
            for one in left():
                self._results.one(one, outcome.start_failed(one, error))
            return
        if waiting := left():
            self._submit(pool, waiting)

    def acknowledged(self, order: pb.AckDone) -> None:
        """The controller has stored results."""
        was_full = self._in_flight.full
        self._in_flight.confirm(order.call_id, order.indexes)
        if was_full and not self._in_flight.full:
            self.may_run_again()

    def may_run_again(self) -> None:
        """What waited for results to be stored, or confirmed, is run."""
        for pool in self._inventory.pools.values():
            pool.changed()

    def cancel(self, order: pb.CancelInputs) -> None:
        """Inputs that no one wants any more; all of them get a result, CANCELLED."""
        by_pool: dict[Pool, list[Assignment]] = {}
        for one in self._in_flight.find(order.call_id, order.indexes):
            pool = self._inventory.pool_of(one.order.function_id, one.order.params)
            if pool is not None:
                by_pool.setdefault(pool, []).append(one)
            elif one.state is AssignmentState.WAITING:  # its pool is being opened
                self._results.one(one, outcome.cancelled(one, "the input was cancelled"))
        for pool, inputs in by_pool.items():
            pool.dispatcher.cancel(inputs, kill=order.kill)
