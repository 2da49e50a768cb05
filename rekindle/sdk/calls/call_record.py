"""What one finished call took: loaded where calls are recorded (records.py)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """One input of a call, from its submission to its value in the caller's hands.

    Milliseconds by phase; their sum is ``total_ms``. ``strategy`` says how its runner came to be;
    ``notes`` why others were passed over. ``pss_bytes`` is the runner's share of memory, where the
    strategy was asked for.
    """

    call_id: str
    index: int
    function: str
    strategy: str
    runner_id: str
    ok: bool
    total_ms: float
    phases: dict[str, float]
    notes: tuple[str, ...] = ()
    deliveries: int = 1
    pss_bytes: int = 0
