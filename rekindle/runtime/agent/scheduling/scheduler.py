"""The scheduler: which pool starts a runner, and who makes room for it.

Pools put themselves on the agenda when something has changed. One pass acts on all of them: takes
in what happened, hands out inputs, asks for lent runners, starts what is lacking. What that changes
in a pool puts it on the agenda of the next pass: a pass is never begun from within a pass.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable
from typing import NamedTuple

from rekindle.guarded_loops import Guard
from rekindle.runtime.agent.gpus import Gpus
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.leases.first_clients import FirstClients
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.pools.agenda import Agenda, PoolKey
from rekindle.runtime.agent.pools.pool import Lack, Pool
from rekindle.runtime.agent.pools.runner_set import DEEPEST
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.scheduling.budget import Budget
from rekindle.runtime.agent.scheduling.fair_shares import FairShares
from rekindle.runtime.agent.scheduling.gpu_room import GpuRoom
from rekindle.runtime.agent.scheduling.stalls import Stalls
from rekindle.runtime.agent.settings import AgentSettings
from rekindle.wire.logs import kv
from rekindle.wire.pools import Level

log = logging.getLogger(__name__)

#: Inputs that were made inside of calls: how often it is looked whether their callers wait.
_LOOK_S = 0.02


class Scheduler:
    """See the module."""

    def __init__(
        self,
        inventory: Inventory,
        leases: Leases,
        first_clients: FirstClients,
        budget: Budget,
        gpus: Gpus,
        settings: AgentSettings,
    ) -> None:
        self.agenda = Agenda(self._pass)
        self._pools = inventory.pools
        self._leases = leases
        self._first_clients = first_clients
        self._budget = budget
        self._settings = settings
        self._reconciling = Guard("reconcile a pool")
        self._stalls = Stalls(inventory, settings.max_waiting_runners)
        self._gpus = gpus
        self._gpu_room = GpuRoom(inventory, leases, gpus, settings.gpu_grace_s)
        self._shares = FairShares(self.agenda, self._give_one_up, self._remind)
        #: Pools that have runners, or start one, as far as this pass has looked; None: not yet.
        self._occupied: dict[PoolKey, Pool] | None = None
        #: Pools without a runner that found no place, in their order.
        self._line: dict[PoolKey, None] = {}
        gpus.on_free = self._gpus_freed
        gpus.on_wanted = lambda pool: self._gpu_room.make_room(pool, must=True)

    # ---- the pass ------------------------------------------------------------------------------

    def _pass(self, due: Iterable[PoolKey]) -> None:
        self._occupied = None
        for key in due:
            pool = self._pools.get(key)
            if pool is None or pool.closed:
                self._line.pop(key, None)
            if pool is not None:
                try:
                    self._serve(pool)
                except Exception:  # the other pools have their turn in any case
                    log.exception("internal error", extra=kv(function=pool.revision.label))
                    self._line.pop(key, None)
        if self._line:
            self._call_up()
        for key in self._shares.takers():
            pool = self._pools.get(key)
            if pool is None or pool.closed:
                self._shares.waits_no_more(key)
            elif self._places_taken(self._depth_of(key, pool)) < self._settings.max_runners:
                self.agenda.add(key)  # what freed the place happened in another pool

    def _call_up(self) -> None:
        """The first in the line have their turns, as many as there are places, free or of idle
        runners. Nothing else would tell them: what freed a place happened in another pool."""
        idle = sum(len(pool.runners.idle()) for pool in self._with_runners() if not pool.waiting)
        places = self._settings.max_runners - self._places_taken(0) + idle
        for key in itertools.islice(self._line, max(0, places)):
            self.agenda.add(key)

    def _serve(self, pool: Pool) -> None:
        pool.take_in_events()
        if pool.closed:
            return
        self._gpu_room.look()
        if pool.waiting and self._leases.recalls.recall_for(pool, stuck=False):
            pool.dispatch()
        requests = self._leases.requests
        self._leases.serve_requests(pool)
        patient = requests.patient(pool.key)
        pool.asked_depth = max((one.depth for one in patient), default=0) if patient else 0
        asking = len(requests.of(pool.key)) + pool.runners.promised
        # For what does not wait, none comes back.
        returning = self._leases.recalls.returning_soon(pool) if pool.waiting or asking else 0
        while (lack := pool.lack(returning, asking)) is not None:
            if not self._room_for_runner(pool, ahead=lack is Lack.AHEAD):
                break
            pool.starts.begin(self._first_clients.of_next_start(pool))
            if self._occupied is not None:
                self._occupied[pool.key] = pool
        else:
            self._line.pop(pool.key, None)
            self._shares.waits_no_more(pool.key)
            pool.gpus.leave()
        if asking:
            self._leases.refuse_requests(pool, pool.places_coming())
            patient = requests.patient(pool.key)  # but those that a start is for
        if (pool.waiting or patient) and not pool.runners.starting:
            self._leases.recalls.recall_for(pool, stuck=True, asking=len(patient))
        pool.freeze_when_due(len(requests.of(pool.key)))
        if pool.depth():
            self.agenda.add_later(pool.key, _LOOK_S)

    def reconcile(self, pool: Pool) -> None:
        """Stop what a pool has too much, start what it lacks."""
        self._occupied = None
        self._reconcile(pool)

    def _reconcile(self, pool: Pool) -> None:
        pool.stop_surplus()
        self._serve(pool)

    def reconcile_all(self) -> None:
        """Reconcile all pools, now and then, and help those that are stuck."""
        self._occupied = None
        for pool in list(self._pools.values()):
            with self._reconciling.one_pass(function=pool.revision.label):
                self._reconcile(pool)
        self._shares.forget_all_but(self._pools)
        excess = self._excess()
        idle = sorted(_idle_of_others(self._with_runners(), None)) if excess > 0 else []
        if idle and not idle[0].kept:
            idle[0].pool.stop_runner(idle[0].runner)
        else:
            self._shares.end_excess(self._with_runners(), excess)
        self._stalls.look()
        self._gpu_room.look()

    # ---- room ----------------------------------------------------------------------------------

    def _room_for_runner(self, pool: Pool, *, ahead: bool) -> bool:
        """Whether one more runner fits; where not, an idle one of another pool may make room.

        For one that no input waits for, ``ahead``, only if its plan keeps it in any case, and only
        a runner that no plan keeps. The pool is looked at again when it may be worth it.
        """
        taken = self._places_taken(0 if ahead else self._depth(pool))
        taken += self._shares.kept_from(pool)
        if taken >= self._settings.max_runners + pool.runners.beyond:
            if ahead and pool.runners.size() >= pool.sizing.plan.runners:
                return False
            waited = self._shares.has_waited(pool.key)
            wait_s = make_room(self._with_runners(), pool, ahead=ahead, waited=waited)
            if wait_s != 0:
                if wait_s is not None:
                    self.agenda.add_later(pool.key, wait_s)
                elif not ahead:
                    self._leases.recalls.make_room(pool, waited=waited)
                    self._shares.ask(pool, self._with_runners(), ahead=False)
                if ahead and self._would_start(pool):
                    self._shares.ask(pool, self._with_runners(), ahead=True)
                if ahead or pool.runners.size():
                    self._line.pop(pool.key, None)
                else:
                    self._line.setdefault(pool.key)
                return False
        self._line.pop(pool.key, None)
        self._shares.has_place(pool.key)
        if not self._gpu_room.has_room(pool, ahead=ahead):
            return False
        if self._budget.room_for(pool, ahead=ahead):
            return True
        pool.gpus.unreserve()
        return False

    def _would_start(self, pool: Pool) -> bool:
        """Whether a runner that a plan keeps is started once there is a place: for one that is not,
        others would give theirs up again and again."""
        fails = pool.backoff.failed_starts or pool.backoff.deaths
        return not (pool.on_trial or fails or pool.revision.spec.gpu) and self._budget.fits(pool)

    def _give_one_up(self, pool: Pool) -> None:
        if idle := pool.runners.idle():
            pool.stop_runner(min(idle, key=lambda one: one.idle_since))
        elif (chosen := pool.dispatcher.give_one_up()) is not None:
            self._leases.recalls.take_back(chosen)
        else:
            self._leases.recalls.give_one_up(pool)

    def _remind(self, pool: Pool) -> None:
        """One that was about to be lent as one was asked for is called all the time since."""
        if not pool.revision.spec.takes_many:
            self._leases.recalls.give_one_up(pool)

    def _excess(self) -> int:
        """Runners beyond the places that do not wait for calls, and do not end by themselves."""
        count = 0
        for pool in self._with_runners():
            if not pool.on_trial:
                count += sum(1 for one in pool.runners.counting(DEEPEST) if not one.private)
                count -= pool.runners.beyond
        return count - self._settings.max_runners

    def is_over(self) -> bool:
        """Whether there are more runners than the node is to have."""
        self._occupied = None
        return self._places_taken(0) > self._settings.max_runners

    def has_place(self, pool: Pool) -> bool:
        """Whether a runner fits that no input waits for and no plan asks for (trials.py)."""
        self._occupied = None
        if self._places_taken(0) + self._shares.kept_from(pool) < self._settings.max_runners:
            return True
        return make_room(self._with_runners(), pool, ahead=True, waited=False) == 0

    def _gpus_freed(self) -> None:
        """Those that wait for devices have their turns, the first in the line first."""
        for pool in self._gpu_room.waiting():
            self.agenda.add(pool.key)

    def _depth(self, pool: Pool) -> int:
        """At which depth a pool's next runner is to be placed.

        A pool that has none, and has waited, may have the place of one that waits for calls, as
        these calls may: there can be such runners for as long as others call.
        """
        if not pool.runners.size() and self._shares.has_waited(pool.key):
            return DEEPEST
        return pool.depth()

    def _depth_of(self, key: PoolKey, pool: Pool) -> int:
        """The same, of a pool that is to have the next place."""
        return 0 if self._shares.is_ahead(key) else self._depth(pool)

    def _with_runners(self) -> Iterable[Pool]:
        """Those that have runners, or start one: few, however many pools wait for a place.

        Nothing but a start makes them more within a pass.
        """
        if self._occupied is None:
            pools = self._pools.items()
            self._occupied = {key: pool for key, pool in pools if pool.runners.size()}
        return self._occupied.values()

    def _places_taken(self, depth: int) -> int:
        """Runners that count against the node's limit, for an input at this depth.

        No more are left out than may wait at a time.
        """
        sets = [pool.runners for pool in self._with_runners()]
        live = sum(runners.size() for runners in sets)
        if not depth:
            return live
        count = sum(runners.taken(depth) for runners in sets)
        return max(count, live - self._settings.max_waiting_runners)


class _Idle(NamedTuple):
    """An idle runner; what sorts first goes first."""

    kept: bool  # its pool's plan keeps it
    priority: float
    idle_since: float
    runner_id: str
    pool: Pool
    runner: Runner


def make_room(pools: Iterable[Pool], pool: Pool, *, ahead: bool, waited: bool) -> float | None:
    """Stop an idle runner of another pool: 0 when one is stopped, else when to ask again, in s.

    None when no runner of another pool is idle. ``ahead``: no input waits for it. One that a plan
    keeps goes for a pool alone that has none and needs one.

    A runner that has been idle for less than its next start would cost is kept from pools that
    can do without: two pools in turn would else spend their time starting what the other has
    stopped. (The rule of ski rental: whoever waits as long as the purchase costs pays at most
    twice the best.) A pool that has no runner at all waits for those alone that are called
    again and again: these are not idle. Once it has ``waited``, those that a plan keeps go all
    the same, as they are given up in no other way (fair_shares.py).
    """
    idle = sorted(_idle_of_others(pools, pool))
    must = not ahead and not pool.runners.size()
    if not must:
        idle = [one for one in idle if not one.kept]
    now, waits_s = time.monotonic(), []
    for one in idle:
        if must and one.runner.is_in_use(now, one.idle_since) and not (waited and one.kept):
            continue
        # What the next start will cost, as far as it is known: what the last one did.
        left_s = 0.0 if must else one.pool.dispatcher.pace.start_s - (now - one.idle_since)
        if left_s <= 0:
            one.pool.stop_runner(one.runner)
            return 0.0
        waits_s.append(left_s)
    return min(waits_s, default=None)


def _idle_of_others(pools: Iterable[Pool], taker: Pool | None) -> Iterable[_Idle]:
    for pool in pools:
        if pool is taker or pool.waiting:  # its own inputs are about to get what is idle there
            continue
        kept = pool.keeps_all
        priority = pool.sizing.plan.priority_of(Level.WARM)
        for runner in pool.runners.idle():
            yield _Idle(kept, priority, runner.idle_since, runner.id, pool, runner)
