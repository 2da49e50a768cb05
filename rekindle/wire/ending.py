"""How long a process of an instance has to end in good order, from SIGTERM to SIGKILL.

Who kills it and the process itself must agree. Standard library only.
"""

from __future__ import annotations

#: An agent: exit hooks have 30 seconds.
AGENT_END_S = 40.0
