"""Whether it pays to hold a level: what holding costs a second, against what a start costs once.

All in money. The price of a start is the CPU time that it takes, the memory (and GPU) that the
runner holds meanwhile, and the time that the caller waits, at the price of waiting. Nothing here
knows of pools or plans.

SPARE is held with one spare here; what more of them are worth is a question of how many inputs come
at once (bursts.py).

Where nothing is known of the next input, the ladder is gone down along the lower envelope: at each
moment the level for which holding it until now and starting now is cheapest, the ski rental rule
for many levels. It costs at most twice what one who knew the future would pay. Where the
distribution of quiet times is known, a level is held in a stretch when what it saves, times the
chance of an input there, is more than what holding costs, times the time that is expected to be
spent there. Both from the literature on power-down states: Augustine, Irani and Swamy, "Optimal
Power-Down Strategies" (FOCS 2004, SIAM J. Comput. 2008); for keep-alive, with one level, Narayana
and Kash, "Keep-Alive Caching for the Hawkes Process" (UAI 2023) show that comparing the hazard
rate with the price of holding is optimal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rekindle.controller.policies.idle_times import Segment
from rekindle.controller.policies.policy import Prices
from rekindle.wire.pools import Figures, Level, Rest, template_of

_NOTHING = Figures(start_s=0.0)


@dataclass(frozen=True, slots=True)
class Option:
    """A level that a quiet pool can be held at."""

    level: Level
    start_s: float
    holding: float  # price of a second
    start: float  # price of a start from here
    cpu: float  # of it, for the CPU time


@dataclass(frozen=True, slots=True)
class SparePrice:
    """One more spare beside a template."""

    holding: float  # price of a second
    saves: float  # at a start that takes it and would else be a fork

    @property
    def pays_from(self) -> float:
        """Starts a second that take it, from which on it pays."""
        return self.holding / self.saves if self.saves > 0 else math.inf


def spare_price(levels: Mapping[Level, Figures], prices: Prices) -> SparePrice | None:
    """What a spare costs and saves; None where there is none."""
    spare, template = levels.get(Level.SPARE), template_of(levels)
    if spare is None or template is None:
        return None
    warm = levels[Level.WARM]
    waiting = prices.holding(warm.memory_bytes, gpus=warm.gpus) + prices.waiting_hour / 3600
    sooner = (template.start_s - spare.start_s) * waiting
    saves = sooner - spare.cpu_s * prices.cpu_hour / 3600
    return SparePrice(prices.holding(spare.memory_bytes), saves)


def options(levels: Mapping[Level, Figures], prices: Prices) -> list[Option]:
    """The levels worth a thought, warmest first: each costs less to hold than the one before.

    A level that costs as much to hold as another one and more to start from is left out.
    """
    shared = levels.get(Level.CACHED, _NOTHING)
    warm = levels[Level.WARM]
    runner = prices.holding(warm.memory_bytes, gpus=warm.gpus)
    found = []
    for level, figures in levels.items():
        memory, disk, cpu_s = figures.memory_bytes, figures.disk_bytes, figures.cpu_s
        if level is Level.SPARE:
            if (template := template_of(levels)) is None:
                continue
            memory, disk = memory + template.memory_bytes, template.disk_bytes
            cpu_s += template.cpu_s  # the next spare
        holding = prices.holding(memory, disk)
        if level is Level.WARM:
            # Its pages are those of the snapshot, where there is one.
            holding = runner + prices.holding(shared.memory_bytes, shared.disk_bytes)
        start_s = 0.0 if level is Level.WARM else figures.start_s
        cpu = 0.0 if level is Level.WARM else cpu_s * prices.cpu_hour / 3600
        start = cpu + start_s * (runner + prices.waiting_hour / 3600)
        found.append(Option(level, start_s, holding, start, cpu))
    found.sort(key=lambda option: (option.start, option.holding))
    kept: list[Option] = []
    for option in found:
        if not kept or option.holding < kept[-1].holding:
            kept.append(option)
    return kept


def bases(choice: Sequence[Option], target_s: float) -> list[tuple[float, Level]]:
    """From how many starts a second on each level below runners is the cheapest, coldest first.

    Only what is in time, if anything is. ``choice`` is as ``options`` gives it.
    """
    left = [option for option in choice if option.start_s <= target_s] or list(choice)
    here, rate = left.pop(), 0.0
    found = [(rate, here.level)]
    while left:
        rate, place = min(
            ((option.holding - here.holding) / (here.start - option.start), place)
            for place, option in enumerate(left)
        )
        here, left = left[place], left[:place]
        found.append((rate, here.level))
    return found


def break_even_s(option: Option, runner_holding: float) -> float:
    """For how long an idle runner is as dear as a start from ``option``: the ski rental rule."""
    return option.start / runner_holding if runner_holding > 0 else math.inf


def down_the_ladder(choice: Sequence[Option], *, target_s: float, unsure_s: float) -> list[Rest]:
    """What to hold when nothing is known: the lower envelope.

    No level whose start takes longer than ``target_s`` before ``unsure_s``, if another one can be.
    """
    rest: list[Rest] = []
    at = 0.0
    here = 0
    while here < len(choice) - 1:
        leave, to = math.inf, len(choice) - 1
        for place in range(here + 1, len(choice)):
            saved = choice[here].holding - choice[place].holding
            when = (choice[place].start - choice[here].start) / saved
            if choice[place].start_s > target_s >= choice[here].start_s:
                when = max(when, unsure_s)
            if when < leave:
                leave, to = when, place
        if leave > at:
            rest.append(Rest(choice[here].level, leave - at))
            at = leave
        here = to
    rest.append(Rest(choice[here].level))
    return rest


def best_schedule(
    choice: Sequence[Option],
    segments: Sequence[Segment],
    *,
    target_s: float,
    may_be_late: float,
    longest_s: float,
) -> list[Rest]:
    """What to hold through a quiet time whose distribution is known.

    At most the share ``may_be_late`` of the quiet times ends with a start that takes longer than
    ``target_s``, as long as holding for ``longest_s`` can achieve it; within that, the cheapest.
    """
    held = [segment for segment in segments if segment.begins_s < longest_s]
    picked = [_cheapest(choice, segment) for segment in held]
    in_time = [option for option in choice if option.start_s <= target_s]
    if in_time and len(in_time) < len(choice):
        beyond = sum(s.ending for s in segments if s.begins_s >= longest_s)
        late = beyond + sum(
            s.ending for s, o in zip(held, picked, strict=True) if o.start_s > target_s
        )
        # The cheapest for each quiet time that is no longer late comes first.
        offers = []
        for place, segment in enumerate(held):
            if picked[place].start_s > target_s:
                better = _cheapest(in_time, segment)
                dearer = _price(better, segment) - _price(picked[place], segment)
                offers.append((dearer / segment.ending, place, better))
        for _, place, better in sorted(offers, key=lambda offer: offer[:2]):
            if late <= may_be_late:
                break
            picked[place] = better
            late -= held[place].ending
    _drop_short_rises(picked, held, target_s)
    return _rests(picked, held, choice[-1])


def _price(option: Option, segment: Segment) -> float:
    return option.holding * segment.expected_s + option.start * segment.ending


def _cheapest(choice: Sequence[Option], segment: Segment) -> Option:
    best = choice[0]
    least = math.inf
    expected, ending = segment.expected_s, segment.ending
    for option in choice:
        price = option.holding * expected + option.start * ending
        if price < least:
            best, least = option, price
    return best


def _drop_short_rises(picked: list[Option], held: Sequence[Segment], target_s: float) -> None:
    """A rise to a warmer level is a start ahead of time: undone where it does not earn that."""
    place = 1
    while place < len(picked):
        below = picked[place - 1]
        if picked[place].holding <= below.holding:
            place += 1
            continue
        end = place
        while end < len(picked) and picked[end].holding > below.holding:
            end += 1
        rise = max(below.cpu - picked[i].cpu for i in range(place, end))
        cost = held[place].survivors * rise
        gain = sum(_price(below, held[i]) - _price(picked[i], held[i]) for i in range(place, end))
        needed = any(picked[i].start_s <= target_s < below.start_s for i in range(place, end))
        if gain < cost and not needed:
            picked[place:end] = [below] * (end - place)
        place = end


def _rests(picked: Sequence[Option], held: Sequence[Segment], low: Option) -> list[Rest]:
    """The steps of a plan; what is made ready is begun as long before as it takes."""
    steps: list[tuple[float, Option]] = []
    for segment, option in zip(held, picked, strict=True):
        if steps and steps[-1][1] is option:
            continue
        begins = segment.begins_s
        if steps and option.start_s < steps[-1][1].start_s:
            lead_s = 1.5 * (steps[-1][1].start_s - option.start_s) + 0.05
            begins = max(begins - lead_s, steps[-1][0])
        steps.append((begins, option))
    if held and steps[-1][1] is not low:
        steps.append((held[-1].ends_s, low))
    ends = [begins for begins, _ in steps[1:]] + [math.inf]
    return [
        Rest(option.level, end - begins)
        for (begins, option), end in zip(steps, ends, strict=True)
        if end > begins
    ] or [Rest(low.level)]
