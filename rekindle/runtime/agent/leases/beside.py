"""Leases of one runner side by side: what the end of one call means for the others."""

from __future__ import annotations

from rekindle.runtime.agent.leases.lease import Lease
from rekindle.runtime.agent.pools.many_dispatcher import TIMEOUT_GRACE_S, ask_to_end
from rekindle.runtime.agent.pools.slice_outcomes import over_time
from rekindle.wire.phases import now_ns


def is_over_time(lease: Lease, began_ns: int, ran_s: float) -> bool:
    """Whether a call that ran longer than its timeout is to be ended with its runner.

    One beside others is asked to end first: it is interrupted, and its caller gets the error.
    """
    spec = lease.pool.revision.spec
    if lease.slot < 0 or spec.max_batch_size:
        return True
    if lease.timed_out_ns != began_ns:
        lease.timed_out_ns = began_ns
        ask_to_end(lease.runner, lease.slot, began_ns, over_time(spec))
    return ran_s > spec.timeout_s + TIMEOUT_GRACE_S


def fate_beside(lease: Lease) -> tuple[str, str]:
    """What became of a call whose runner has ended, where others ran beside it.

    ``again``: it runs again and is not to blame, as it had not begun, or the runner was ended for
    another call. One that was over its time itself has timed out with it.
    """
    spec, runner = lease.pool.revision.spec, lease.runner
    began_ns = runner.last_words.begun.get(lease.slot, 0)
    if not began_ns:
        return "again", ""
    if now_ns() - began_ns > spec.timeout_s * 1e9:
        words = f"{lease.pool.revision.label} ran longer than timeout={spec.timeout_s:g} s"
        beside = "all of its batch" if spec.max_batch_size else "others in its runner"
        return "timeout", f"{words} and was stopped, with {beside}"
    return ("again" if runner.kill_reason else "lost"), ""
