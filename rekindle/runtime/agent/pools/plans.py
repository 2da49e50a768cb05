"""The plans that the controller has sent, and which pool each is for.

A plan may come before its pool: it waits here. A plan for one instance of a class goes before the
plan for every instance. Knows nothing of what a plan says.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.wire.pools import PoolPlan

#: In place of the digest of an instance's parameters.
EVERY = "*"

Key = tuple[str, str]  # function id, digest of the parameters


@dataclass
class Plans:
    """Plans by function and parameters."""

    _of: dict[Key, PoolPlan] = field(default_factory=dict)

    def keep(self, function_id: str, digest: str, plan: PoolPlan) -> None:
        """Take in a plan; ``digest`` EVERY for all pools of the function without one."""
        self._of[function_id, digest] = plan

    def find(self, key: Key) -> PoolPlan | None:
        """The plan of a pool; None when none was sent."""
        plan = self._of.get(key)
        return self._of.get((key[0], EVERY)) if plan is None else plan

    def forget(self, function_id: str) -> None:
        """Its app is closed."""
        for key in [key for key in self._of if key[0] == function_id]:
            del self._of[key]
