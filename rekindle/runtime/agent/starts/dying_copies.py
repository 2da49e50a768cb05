"""Copies of a template that end while they become runners, where another kind of start does not.

Something that user code or a library does in a new copy ends it (a handler at fork, say). That one
start falls to the next step of the ladder. So that not every start begins with a copy that ends, a
revision whose copies have ended a few times in a row makes no more of that kind. One that is killed
from outside, as by a kernel that has no memory left, says nothing of those that come next.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.exception import RunnerLostError
from rekindle.wire.phases import Strategy

#: That often in a row, in starts that another kind then served.
MOST = 2
#: What can be refused; all other strategies are of the first kind, but a cold boot of none.
KINDS = (Strategy.FORK, Strategy.RESTORE)
_WORDS = {Strategy.FORK: "forked from its template", Strategy.RESTORE: "restored from its snapshot"}


@dataclass(frozen=True)
class Death:
    """Why a copy ended, and whether nothing that it did itself was the reason."""

    why: str
    from_outside: bool


#: Copies that ended in one start, by kind.
Deaths = dict[Strategy, Death]


def note(deaths: Deaths, strategy: Strategy, error: Exception, *, template_ended: bool) -> None:
    """Where a step of a start failed as its process ended, or the template while that forked."""
    kind = _kind_of(strategy)
    if isinstance(error, RunnerLostError):
        deaths[kind] = Death(str(error), error.from_outside)
    elif kind is Strategy.FORK and template_ended:
        deaths[kind] = Death(str(error), from_outside=False)


@dataclass
class DyingCopies:
    """Of one revision."""

    _in_a_row: dict[Strategy, int] = field(default_factory=dict)
    _refused: dict[Strategy, str] = field(default_factory=dict)

    def served(self, strategy: Strategy, deaths: Deaths) -> list[Strategy]:
        """A start has a runner, after ``deaths``. What is to be made no more, from now on."""
        kind = _kind_of(strategy)
        if kind in self._in_a_row:
            del self._in_a_row[kind]
        refused = []
        for dead, death in deaths.items():
            if dead is kind or death.from_outside:
                continue
            times = self._in_a_row[dead] = self._in_a_row.get(dead, 0) + 1
            if times >= MOST and dead not in self._refused:
                self._refused[dead] = f"{times} runners {_WORDS[dead]} ended in a row: {death.why}"
                refused.append(dead)
        return refused

    def why_not(self, kind: Strategy) -> str:
        """Why none are made so; "" where they are."""
        return self._refused.get(kind, "")


def _kind_of(strategy: Strategy) -> Strategy:
    return Strategy.FORK if strategy is Strategy.SPARE else strategy
