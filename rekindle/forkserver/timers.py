"""Timers of a process: stopped while its template waits, started again in each copy.

A fork does not inherit them, and an alarm that rang in a template would end it.
"""

from __future__ import annotations

import signal

_WHICH = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

#: Which timer, seconds until it fires, seconds between firings.
Timer = tuple[int, float, float]


def stop_all() -> list[Timer]:
    """Stop the interval timers and alarms; what was left of each."""
    running = [(which, *signal.getitimer(which)) for which in _WHICH]
    running = [timer for timer in running if timer[1]]
    for which, _left, _interval in running:
        signal.setitimer(which, 0)
    return running


def start(timers: list[Timer]) -> None:
    """Go on where they were stopped."""
    for which, left, interval in timers:
        signal.setitimer(which, left, interval)


def posix_timers() -> list[str]:
    """The ids of timers made with timer_create, which no fork inherits."""
    try:
        with open("/proc/self/timers") as timers:
            return [line.split()[1] for line in timers if line.startswith("ID:")]
    except FileNotFoundError:  # a kernel without CONFIG_CHECKPOINT_RESTORE
        return []
