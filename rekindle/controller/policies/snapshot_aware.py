"""``snapshot-aware``: the cheapest way to meet a latency target, over all levels from warm to cold.

When a restore takes 20 ms, keeping a runner warm for a minute may be waste; when a cold start takes
ten seconds, it may be a bargain. Which it is follows from what was measured of this function: what
a start from each level takes and what holding each level costs (cost_model.py), and when its
inputs come (idle_times.py). Five decisions:

- **Quiet times.** While little is known, down the ladder along the lower envelope. From eight quiet
  times on, each stretch of the quiet time is held at the level that is cheapest there; then, where
  more starts than the target allows would be late, stretches are raised to a level that is in time,
  the cheapest late input first. So a timer's function is made ready just before it fires.
- **Idle runners alongside busy ones** are kept as long as their memory costs what a start costs.
- **At once.** So many spares wait beside a template as bursts of that many inputs are frequent
  enough to pay for (bursts.py); until that is known, the usual number.
- **Load.** Where a start from what lies below the runners is in time, one is started when an input
  has waited for as long as such a start takes: with short inputs a busy runner is free sooner.
  Where it is not, more runners are kept by Little's law: inputs in flight are Poisson distributed
  around arrival rate times service time, and so many are had that late ones are rare enough.
- **Short memory.** The value of a level is what it saves, times the rate of inputs, per byte.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rekindle.controller.policies import cost_model
from rekindle.controller.policies.bursts import MOST, Bursts
from rekindle.controller.policies.idle_times import IdleTimes
from rekindle.controller.policies.policy import (
    Policy,
    PoolSettings,
    PoolView,
    Prices,
    Sizer,
    bottom,
    plan_of,
    usual_spares,
)
from rekindle.counted import counted
from rekindle.exception import InvalidError
from rekindle.wire.pools import Figures, Level, PoolPlan, Rest

#: Quiet times after which their distribution is believed.
_KNOWN_FROM = 8
#: A new schedule when the quiet times have grown by this share; the same of spares and bursts.
_GROWN = 0.25
#: Levels that CACHED costs no more than while a runner maps its pages.
_COLDER = (Level.DISK, Level.NONE)
#: Load is averaged over this long.
_WINDOW_S = 60.0
#: Starts a second are averaged over this long.
_STARTS_S = 600.0
#: The share of inputs that a runner is started for is averaged over so many of them.
_INPUTS = 100.0

_PRICES = Prices()


@dataclass(frozen=True, kw_only=True)
class SnapshotAware(Policy):
    """``quantile`` of the starts of each function are to take at most ``target_ms``.

    Nothing is held for longer than ``longest_s`` after the last input, target or not. The prices
    are those of ``Prices``.
    """

    target_ms: float = 500.0
    quantile: float = 0.95
    longest_s: float = 4 * 3600.0
    waiting_hour: float = _PRICES.waiting_hour
    gib_hour: float = _PRICES.gib_hour
    gpu_hour: float = _PRICES.gpu_hour
    cpu_hour: float = _PRICES.cpu_hour
    disk_gib_hour: float = _PRICES.disk_gib_hour

    def __post_init__(self) -> None:
        if self.target_ms < 0 or not 0 < self.quantile < 1 or self.longest_s < 0:
            raise InvalidError(
                f"snapshot-aware: target_ms={self.target_ms:g} and longest_s={self.longest_s:g} "
                f"must not be negative, quantile={self.quantile:g} lies between 0 and 1"
            )
        if min(dataclasses.astuple(self.prices)) < 0:
            raise InvalidError("snapshot-aware: a price cannot be negative")

    @property
    def prices(self) -> Prices:
        """What is paid for what is held, and what waiting is worth."""
        return Prices(
            gib_hour=self.gib_hour,
            gpu_hour=self.gpu_hour,
            cpu_hour=self.cpu_hour,
            disk_gib_hour=self.disk_gib_hour,
            waiting_hour=self.waiting_hour,
        )

    def sizer(self) -> SnapshotAwareSizer:
        """The part for one more pool."""
        return SnapshotAwareSizer(self)


@dataclass(slots=True)
class SnapshotAwareSizer(Sizer):
    """One pool: its quiet times, its load, and the schedule that follows."""

    policy: SnapshotAware
    gaps: IdleTimes = field(default_factory=IdleTimes)
    bursts: Bursts = field(default_factory=Bursts)
    arrivals: int = 0
    first_arrival: float = 0.0
    last_arrival: float = 0.0
    quiet_since: float | None = None
    _schedule: _Schedule | None = None
    _load: float = 0.0
    _start_rate: float = 0.0
    _started_share: float = 1.0
    _spares_of: tuple[int, int] = (0, 0)  # bursts that were known, spares that they pay for
    #: Time, demand, starts and arrivals at the last plan.
    _seen: tuple[float, float, int, int] = (0.0, 0.0, 0, 0)
    _plan: PoolPlan | None = None
    _made_of: tuple[object, ...] = ()

    def arrived(self, now: float) -> None:
        """An input has arrived; with it a quiet time may end."""
        self.arrivals += 1
        self.last_arrival = now
        self.bursts.arrived(now)
        if self.quiet_since is not None:
            self.gaps.add(now - self.quiet_since)
            self.quiet_since = None

    def quiet(self, now: float) -> None:
        """A quiet time begins."""
        self.quiet_since = now

    def plan(self, view: PoolView) -> PoolPlan:
        """What pays. Before the first input too: a plan may not be made again at once with it."""
        if not self.arrivals:
            self.first_arrival = view.now
        self._measure(view)
        schedule = self._scheduled(view)
        base = schedule.base(self._start_rate)
        if view.settings.spare_containers and Level.SPARE in view.levels:
            base = Level.SPARE
        more = self._more_runners(view, schedule, base)
        spares = self._spares(view, schedule)
        patience_s = self._patience(view, schedule, base)
        made_of = (schedule, more, spares, base, patience_s)
        if self._plan is not None and made_of == self._made_of:
            return self._plan
        self._made_of = made_of
        self._plan = plan_of(
            view,
            keep_s=schedule.keep_s,
            rest=schedule.rest,
            base=base,
            buffer=more,
            spares=spares,
            patience_s=patience_s,
            priority=self._priorities(view, schedule, base),
            # Load falls without an event that says so.
            again_s=_WINDOW_S / 2 if more else None,
            why=schedule.why,
        )
        return self._plan

    # ---- quiet times -----------------------------------------------------------------------

    def _scheduled(self, view: PoolView) -> _Schedule:
        """The schedule; made again when the quiet times, or what was measured, have changed."""
        before = self._schedule
        if (
            before is not None
            and before.used == bool(self.arrivals)
            and (before.levels is view.levels or before.levels == view.levels)
            and before.settings == view.settings
            and (self.gaps.total < _KNOWN_FROM) == (before.gaps < _KNOWN_FROM)
            and self.gaps.total <= before.gaps * (1 + _GROWN)
        ):
            return before
        policy, levels = self.policy, view.levels
        if view.settings.spare_containers == 0:
            levels = {level: f for level, f in levels.items() if level is not Level.SPARE}
        choice = cost_model.options(levels, policy.prices)
        target_s = policy.target_ms / 1000
        quiet_times = counted(self.gaps.total, "quiet time")
        if self.gaps.total < _KNOWN_FROM:
            rest = cost_model.down_the_ladder(
                choice, target_s=target_s, unsure_s=view.settings.scaledown_window_s
            )
            known = f"{quiet_times}, too few to know more"
            if not self.arrivals:
                known = "no input yet"
            why = f"{known}: each level is kept for as long as its start costs"
        else:
            rest = cost_model.best_schedule(
                choice,
                self.gaps.segments(),
                target_s=target_s,
                may_be_late=self._may_be_late(),
                longest_s=policy.longest_s,
            )
            why = f"cheapest for {quiet_times} and {policy.target_ms:g} ms"
        warm = levels[Level.WARM]
        # A snapshot's pages are there anyway while a runner maps them.
        first = Level.CACHED if Level.CACHED in levels else bottom(levels)
        start = next((o for o in choice if o.level is first), choice[-1])
        below = [o for o in choice if o.level is not Level.WARM]
        if first is Level.CACHED:
            below = [o for o in below if o.level not in _COLDER]
        self._schedule = _Schedule(
            used=bool(self.arrivals),
            gaps=self.gaps.total,
            levels=view.levels,
            settings=view.settings,
            choice=choice,
            rest=tuple(rest),
            target_s=target_s,
            keep_s=cost_model.break_even_s(
                start, policy.prices.holding(warm.memory_bytes, gpus=warm.gpus)
            ),
            bases=(cost_model.bases(below, target_s) if start.level is first else [(0.0, first)]),
            spare=cost_model.spare_price(levels, policy.prices),
            why=why,
        )
        return self._schedule

    def _may_be_late(self) -> float:
        """Share of the inputs after a quiet time that may be late.

        Half of what the target allows of all inputs; the other half is left to rising load.
        """
        after_quiet = self.gaps.total / max(1, self.arrivals)
        return (1 - self.policy.quantile) / 2 / max(after_quiet, 1e-9)

    # ---- load ------------------------------------------------------------------------------

    def _measure(self, view: PoolView) -> None:
        """Inputs in flight (Little's law: arrival rate times service time) and starts a second."""
        then, demand, starts, arrivals = self._seen
        lasted = view.now - then
        if lasted <= 0:
            return
        mean = (view.demand_s - demand) / lasted
        self._load += (mean - self._load) * (1 - math.exp(-lasted / _WINDOW_S))
        rate = (view.started - starts) / lasted
        self._start_rate += (rate - self._start_rate) * (1 - math.exp(-lasted / _STARTS_S))
        fresh = self.arrivals - arrivals
        if fresh and then:  # before the first plan lies what was told of the past
            share = min(1.0, (view.started - starts) / fresh)
            self._started_share += (share - self._started_share) * min(1.0, fresh / _INPUTS)
        self._seen = (view.now, view.demand_s, view.started, self.arrivals)

    def _spares(self, view: PoolView, schedule: _Schedule) -> int:
        """The first spare is a question of the level; each further one has to pay for itself."""
        total = self.bursts.total
        if schedule.spare is None or total < _KNOWN_FROM:
            return usual_spares(view.levels)
        if total > self._spares_of[0] * (1 + _GROWN):
            often, spares = schedule.spare.pays_from, 1
            while spares < MOST and self._needed(spares + 1, view.now) >= often:
                spares += 1
            self._spares_of = (total, spares)
        return self._spares_of[1]

    def _needed(self, spares: int, now: float) -> float:
        """How often a second so many runners are started at once."""
        return self.bursts.rate(spares, now) * self._started_share

    def _more_runners(self, view: PoolView, schedule: _Schedule, base: Level) -> int:
        """Idle runners to have alongside the busy ones, where a start would be late."""
        if view.levels[base].start_s <= schedule.target_s or self._load <= 0.0:
            return 0
        needed = runners_for(
            round(self._load, 2 if self._load < 10 else 0), (1 - self.policy.quantile) / 2
        )
        return max(0, needed - max(1, math.ceil(self._load)))

    def _patience(self, view: PoolView, schedule: _Schedule, base: Level) -> float:
        """How long an input waits for a busy runner before one is started for it."""
        start_s = view.levels[base].start_s
        if not 0 < view.service_s < start_s:
            return 0.0
        if start_s > schedule.target_s:
            return min(start_s, schedule.target_s / 2)
        return min(start_s, (schedule.target_s - start_s) / 2)

    # ---- short memory ----------------------------------------------------------------------

    def _priorities(
        self, view: PoolView, schedule: _Schedule, base: Level
    ) -> Mapping[Level, float]:
        """What each level saves a second, in money, per byte that it takes."""
        lasted = max(view.now - self.first_arrival, 1.0)
        rate = self.arrivals / lasted
        low = schedule.choice[-1]
        start_s = view.levels[base].start_s
        found = {}
        for option in schedule.choice[:-1]:
            size = view.levels[option.level].memory_bytes
            from_below = low.start
            if option.level is Level.SPARE and schedule.spare is not None:  # beside its template
                from_below = option.start + schedule.spare.saves
            elif option.level is Level.WARM:
                # Beside what lies below, which stays.
                from_below = next(
                    (o.start for o in schedule.choice if o.start_s >= start_s), low.start
                )
            found[option.level] = rate * (from_below - option.start) / max(size, 1)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Schedule:
    """What follows from the quiet times; made again only when they have changed."""

    used: bool
    gaps: int
    levels: Mapping[Level, Figures]
    settings: PoolSettings
    choice: Sequence[cost_model.Option]
    rest: tuple[Rest, ...]
    target_s: float
    #: For how long an idle runner alongside busy ones pays.
    keep_s: float
    #: What is held below runners, from so many starts a second on.
    bases: Sequence[tuple[float, Level]]
    #: Of one more spare beside a template; None where there is none.
    spare: cost_model.SparePrice | None
    why: str

    def base(self, start_rate: float) -> Level:
        """What to hold below runners at so many starts a second."""
        found = self.bases[0][1]
        for rate, level in self.bases:
            if start_rate < rate:
                break
            found = level
        return found


@functools.lru_cache(maxsize=4096)
def runners_for(load: float, late: float) -> int:
    """So many runners that an input finds them all busy with at most the probability ``late``.

    Inputs in flight are taken as Poisson distributed around ``load``.
    """
    if load > 200:
        # Normal enough; 1.96 of its deviations for one in forty.
        return math.ceil(load + _deviations(late) * math.sqrt(load))
    term = math.exp(-load)
    below = 0.0
    runners = 0
    while runners < 1000:
        below += term  # P(fewer than runners + 1 in flight)
        runners += 1
        if 1.0 - below <= late:
            break
        term *= load / runners
    return runners


def _deviations(late: float) -> float:
    """Standard deviations beyond which a share ``late`` lies (an approximation good to 0.01)."""
    late = min(max(late, 1e-9), 0.5)
    t = math.sqrt(-2 * math.log(late))
    return t - (2.30753 + 0.27061 * t) / (1 + 0.99229 * t + 0.04481 * t * t)
