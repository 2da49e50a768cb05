"""A look at a lent runner: calls that take too long, callers that are gone, clients without calls.

Everything is read from the runner's page, now and then, so it costs the calls nothing. Says what is
to be done; who does it is leases.py.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from rekindle.runtime.agent.leases.beside import is_over_time
from rekindle.runtime.agent.leases.lease import Lease, LeaseState
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.pools.slice_outcomes import over_time
from rekindle.wire.page import cancel_token
from rekindle.wire.phases import now_ns

#: How often the pages of lent runners are looked at.
LOOK_S = 0.05
#: A client that was given a lease connects within this.
OFFER_S = 5.0
#: A runner that its client does not call is taken back after this; sooner where the plan says so.
IDLE_S = 5.0
#: A call whose caller is gone is cancelled; its runner is ended when that does not end it.
CANCEL_GRACE_S = 5.0
#: A runner that was asked back and runs nothing returns at once, or something is wrong with it.
RETURN_S = 30.0


class Verdict(Enum):
    """What is to become of a lease."""

    STAYS = "stays"
    ENDS = "ends"
    RECALLED = "recalled"


class Kill(NamedTuple):
    """Its runner is to be ended: the kind of its call's fate, and why, in words."""

    kind: str
    message: str


def look_at(
    lease: Lease, began_ns: int, now: float, is_surplus: Callable[[Pool], bool]
) -> Verdict | Kill:
    """What is to become of a lease whose runner is lent; a call that no one waits for is cancelled.

    ``began_ns``: when its call began, 0 for none. ``now`` by the monotonic clock. ``is_surplus``:
    whether a pool has more runners than it may have.
    """
    plan = lease.pool.sizing.plan
    spec = lease.pool.revision.spec
    ran_s = lease.ran_s(now_ns())
    if ran_s > spec.timeout_s:
        if is_over_time(lease, began_ns, ran_s):
            return Kill("timeout", over_time(spec))
    elif began_ns and lease.client_gone:
        if lease.slot < 0:  # else its runner sees that for itself
            return cancel(lease, now)
    elif lease.state is LeaseState.OFFERED and now - lease.since > OFFER_S:
        return Verdict.ENDS
    elif lease.state is LeaseState.HELD and is_surplus(lease.pool):
        return Verdict.RECALLED
    elif lease.state is LeaseState.HELD and not began_ns:
        if now - lease.used > min(IDLE_S, plan.keep_s):
            return Verdict.RECALLED
    elif lease.state is LeaseState.RECALLED and not began_ns and now - lease.used > RETURN_S:
        return Kill("lost", "it did not let go of a connection")
    return Verdict.STAYS


def cancel(lease: Lease, now: float) -> Verdict | Kill:
    """Have what it runs end: no one waits for it. Asked again, it is killed after a grace."""
    runner = lease.runner
    if runner.ask_to_cancel(cancel_token(0, runner.page.index), now) > CANCEL_GRACE_S:
        return Kill("lost", "its caller was gone, and it did not end")
    return Verdict.STAYS
