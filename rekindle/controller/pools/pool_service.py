"""Everything about the sizes of pools under one name: recording, costs, settings, the scaler.

Answers the requests about them. Other packages report what happened through its methods.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Sequence, Set

from rekindle.background_tasks import BackgroundTasks
from rekindle.controller import names, policies
from rekindle.controller.policies.policy import PoolSettings
from rekindle.controller.pools import pool_settings
from rekindle.controller.pools.arrivals import ArrivalLog, Record
from rekindle.controller.pools.costs import CostBook
from rekindle.controller.pools.pool_settings import EVERY, SettingsBook
from rekindle.controller.pools.scaler import Scaler
from rekindle.controller.state import Function, State
from rekindle.controller.storage.damage import Damage
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.exception import InvalidError, NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import FunctionSpec

DEFAULT_POLICY = "declared"


def default_policy() -> str:
    """``$REKINDLE_POOL_POLICY``, or "declared". Raises InvalidError for a name that is none."""
    name = os.environ.get("REKINDLE_POOL_POLICY") or DEFAULT_POLICY
    if name not in policies.REGISTRY:
        raise InvalidError(
            f"REKINDLE_POOL_POLICY={name!r} is not a policy; it is one of "
            f"{', '.join(policies.REGISTRY)}"
        )
    return name


class PoolService:
    """One controller's."""

    def __init__(
        self, state: State, link: RedisLink, tasks: BackgroundTasks, damage: Damage
    ) -> None:
        self._state = state
        self._tasks = tasks
        self.arrivals = ArrivalLog(link)
        self.costs = CostBook(link)
        self.book = SettingsBook(link, default_policy(), damage)
        self.scaler = Scaler(state, self.book, self.arrivals, self.costs, tasks)

    def start(self) -> None:
        """Begin to plan and to record, in the background."""
        self._tasks.spawn(self.scaler.run_forever(), "size pools")
        self._tasks.spawn(self.arrivals.keep_forever(), "record arrivals")
        self._tasks.spawn(self.costs.keep_forever(), "record costs")

    async def flush(self) -> None:
        """Store what is not stored yet."""
        await self.arrivals.flush()
        await self.costs.flush()

    async def forget(self, labels: Set[str]) -> None:
        """Drop what was recorded of functions that are gone for good, and of their variants.

        Not of those that an app has open under the same name.
        """
        recorded = {*labels, *await self.arrivals.labels()}
        of_them = {one for one in recorded if one.partition("[")[0] in labels}
        open_now = {function.label for function in self._state.functions.values()}
        for label in sorted(of_them - open_now):
            await self.arrivals.forget(label)
            await self.costs.forget(label)

    def results(self, done: pb.Done) -> None:
        """An agent's message with results: how long inputs run."""
        function = self._state.functions.get(done.function_id)
        call = self._state.calls.get(done.call_id)
        if function is not None and done.execute_ns > 0:
            params = call.params if call is not None else b""
            self.scaler.served(function, params, len(done.indexes), done.execute_ns)

    # ---- requests --------------------------------------------------------------------------

    async def set_named(self, request: pb.SetPoolRequest) -> pb.SetPoolReply:
        """``set_pool`` of all functions that have the name. Raises NotFoundError, too."""
        return await self.set_pool(request, self._named(request.function))

    async def set_pool(
        self, request: pb.SetPoolRequest, found: Sequence[Function]
    ) -> pb.SetPoolReply:
        """Change settings of the pools of functions. Raises InvalidError."""
        changes = pool_settings.changes_of(request.changes)
        every = request.every_instance or bool(request.function)
        effective = None
        for function in found:
            effective = await self.scaler.set_pool(
                function, request.params, changes, every=every, reset=request.reset
            )
        assert effective is not None
        return pb.SetPoolReply(
            function=found[0].label,
            function_ids=[function.function_id for function in found],
            settings=effective.report(),
            notes=self._notes(effective.settings),
        )

    def _notes(self, settings: PoolSettings) -> list[str]:
        """What the nodes that there are now cannot follow."""
        most = max((agent.max_runners for agent in self._state.live_agents()), default=None)
        spares = settings.spare_containers or 0
        if settings.max_containers is not None:
            spares = min(spares, settings.max_containers)
        if most is None or spares <= most:
            return []
        return [f"spare {spares} is cut to {most} on a node, which may have no more runners"]

    def _named(self, wanted: str) -> list[Function]:
        """The functions of open apps that have a name; not those of former versions."""
        functions = self._state.functions.values()
        opened = [f for f in functions if not (f.app.closing or f.app.retired)]
        if found := [f for f in opened if f.label == wanted]:
            return found
        known = [f.label for f in opened]
        hint = names.nearest(wanted, known, "no app is running")
        raise NotFoundError(
            f"no function {wanted!r} is running here (settings are those of a running app); {hint}"
        )

    async def recorded(self, request: pb.RecordedRequest) -> pb.RecordedReply:
        """What is known of a function, for tuning. Raises NotFoundError."""
        wanted = request.function
        open_ones = [f for f in self._state.functions.values() if f.label == wanted]
        if not open_ones:
            await self.costs.load([wanted])
        costs = self.costs.of(wanted)
        records = await self.arrivals.records(wanted)
        if not records and not open_ones:
            known = {f.label for f in self._state.functions.values()}
            known |= set(await self.arrivals.labels())
            hint = names.nearest(wanted, known, "nothing is recorded yet")
            raise NotFoundError(f"nothing is recorded of a function {wanted!r}; {hint}")
        function_id, spec = "", FunctionSpec(app_name="", name="")
        if open_ones:
            function_id, spec = open_ones[-1].function_id, open_ones[-1].spec
        snapshots = spec.enable_memory_snapshot or costs.snapshot
        levels = costs.levels(snapshots=snapshots)
        return pb.RecordedReply(
            function=wanted,
            now=time.time(),
            running=bool(open_ones),
            settings=self.book.effective(function_id, spec, EVERY).report(),
            levels={
                level.value: pb.LevelCosts(**dataclasses.asdict(f)) for level, f in levels.items()
            },
            measured=costs.measured(),
            costs=costs.report(),
            series=[_series(record) for record in records],
        )


def _series(record: Record) -> pb.RecordedSeries:
    service = record.service
    return pb.RecordedSeries(
        params=record.digest,
        arrivals=_arrivals(record.arrivals),
        minutes=_arrivals(record.minutes),
        service=pb.ServiceTimes(
            count=round(service.count),
            mean_s=service.mean_s,
            p50_s=service.quantile_s(0.5),
            p95_s=service.quantile_s(0.95),
        ),
    )


def _arrivals(known: Iterable[tuple[float, int]]) -> pb.Arrivals:
    pairs = list(known)
    return pb.Arrivals(at=[at for at, _ in pairs], count=[count for _, count in pairs])
