"""What a process of an instance says on its standard output about its start, next to ``ready``.

Standard library only.
"""

from __future__ import annotations

#: Before the reason of a process that this machine or user does not let run, on one line.
REFUSED = "refused: "
#: Its exit status then: starting it again would end the same (EX_CONFIG of sysexits.h).
REFUSED_STATUS = 78
