"""When to kill what: a plan that is a function of its seed alone, so that a run can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What is killed."""

    RUNNER = "runner"
    TEMPLATE = "template"
    AGENT = "agent"
    CONTROLLER = "controller"
    REDIS = "redis"


@dataclass(frozen=True)
class Kill:
    """One kill: after so many inputs have begun, the victim of that rank among those there are."""

    after: int
    kind: Kind
    rank: int

    def __str__(self) -> str:
        return f"{self.kind.value} {self.rank} after {self.after}"


#: No kill before this share of all inputs has begun, none after that one.
_FIRST, _LAST = 0.01, 0.93


def schedule(seed: int, kills: int, inputs: int) -> list[Kill]:
    """``kills`` kills, all kinds equally often, over a run of ``inputs`` inputs."""
    chance = random.Random(seed)
    kinds = list(Kind)
    chosen = [kinds[number % len(kinds)] for number in range(kills)]
    chance.shuffle(chosen)
    places = sorted(chance.uniform(_FIRST, _LAST) for _ in chosen)
    return [
        Kill(int(place * inputs), kind, chance.randrange(1000))
        for place, kind in zip(places, chosen, strict=True)
    ]
