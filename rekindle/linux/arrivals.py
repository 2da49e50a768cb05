"""Waiting for what comes soon: a look at a descriptor, for a moment, before a thread sleeps.

To wake a thread whose processor has gone idle takes longer than a small call, most of all in a
virtual machine, and costs both ends processor time. So who waits where what it waited for came soon
before looks for that long, and lets others run between two looks. Where the processors are busy it
sleeps at once. Standard library only.
"""

from __future__ import annotations

import os
import select
from time import perf_counter_ns

#: What came within this is worth to be looked for; and nothing is looked for any longer.
LOOK_NS = 100_000
#: When others had the processor for so long between two looks, it is busy...
_TAKEN_NS = 100_000
#: ...and no one looks for so long.
_PAUSE_NS = 20_000_000
#: Nobody sleeps for longer at a time: a signal that comes just before does not wake the thread, and
#: its handler would run after what is waited for, which may never come.
_SLEEP_MS = 500

#: The longest a look takes: what others have the processor for ends it.
_LONGEST_NS = LOOK_NS + _TAKEN_NS
#: One thread of a process looks: another one could not run meanwhile, as both need the interpreter.
#: It says until when, and has no lock: between the moment that a lock is taken and all that would
#: give it back, a signal's handler may raise.
_not_before_ns = 0


class Arrivals:
    """What arrives at one descriptor: whether it came soon the last time decides about the next."""

    __slots__ = ("_alone", "_poll", "_soon")

    def __init__(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        self._poll = poll.poll
        self._alone = len(os.sched_getaffinity(0)) < 2  # whoever is to send could not run
        self._soon = False

    def wait(self, began_ns: int) -> None:
        """Return when it can be read; ``began_ns`` as in ``look``.

        Raises what a handler of a signal raises.
        """
        if not self.look(began_ns):
            while not self._poll(_SLEEP_MS):
                pass
            self.slept(began_ns)

    def look(self, began_ns: int) -> bool:
        """Whether it can be read now; ``began_ns`` (perf_counter_ns): since when it is waited for.

        False: to be slept for, and then ``slept`` is told.
        """
        global _not_before_ns
        if not self._soon or began_ns < _not_before_ns:
            return False
        _not_before_ns = began_ns + _LONGEST_NS
        return self._look(began_ns)

    def slept(self, began_ns: int) -> None:
        """Note that what was waited for has come to whoever slept."""
        self._soon = not self._alone and perf_counter_ns() - began_ns < LOOK_NS

    def likely(self) -> None:
        """What comes next is likely to come soon, however long this took: that was a start."""
        self._soon = not self._alone

    def _look(self, began_ns: int) -> bool:
        global _not_before_ns
        poll, last_ns = self._poll, began_ns
        while not (found := bool(poll(0))):
            os.sched_yield()
            now_ns = perf_counter_ns()
            if now_ns - last_ns > _TAKEN_NS:
                _not_before_ns = now_ns + _PAUSE_NS
                return False
            if now_ns - began_ns > LOOK_NS:
                self._soon = False
                break
            last_ns = now_ns
        _not_before_ns = 0
        return found
