"""What a process of an instance says on its standard output about its start, next to ``ready``.

Standard library only.
"""

from __future__ import annotations

import sys

#: Before the reason of a process that this machine or user does not let run, on one line.
REFUSED = "refused: "
#: After that, where a setting is what is wrong.
INVALID = "invalid: "
#: Its exit status then: starting it again would end the same (EX_CONFIG of sysexits.h).
REFUSED_STATUS = 78
#: Before the reason of one that lacks what is elsewhere, a Redis of the user's, on one line.
AWAY = "away: "
#: Its exit status then: a start later on may fare better (EX_UNAVAILABLE of sysexits.h).
AWAY_STATUS = 69


def refuse(reason: str) -> int:
    """Say that no other start would fare better; the exit status to end with."""
    sys.stdout.write(f"{REFUSED}{reason}\n")
    sys.stdout.flush()
    return REFUSED_STATUS


def is_away(reason: str) -> int:
    """Say that what is elsewhere does not answer; the exit status to end with."""
    sys.stdout.write(f"{AWAY}{reason}\n")
    sys.stdout.flush()
    return AWAY_STATUS
