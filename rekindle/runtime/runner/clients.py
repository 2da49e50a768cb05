"""User code as a client of an instance: what its process has to forget, or to say when it ends.

Our own modules register at fork what forgets connections, threads and locks of the parent. A
template that never was a client has nothing of the kind, and each of its copies would run a hundred
lines for that. Loads nothing of it: what no one has loaded has no state.
"""

from __future__ import annotations

import sys

#: What is true in a process that is a client, or was: module, and its variable.
_STATE = (
    ("rekindle.sdk.connection.background", "_current"),
    ("rekindle.sdk.connection.background", "_inherited"),
    ("rekindle.sdk.local.session", "_connected"),
    ("rekindle.sdk.objects.link", "_links"),
    ("rekindle.sdk.calls.lease", "held"),
    ("rekindle.sdk.calls.lease_caches", "_caches"),
    ("rekindle.wire.reuse", "_ends"),
    ("rekindle.wire.memory", "_forking"),
)


def was_client() -> bool:
    """See the module."""
    return any(getattr(sys.modules.get(module), name, None) for module, name in _STATE)


def report_taken() -> None:
    """Before this runner ends: say which results of its calls it has and no one else asks for.

    That is said a moment later, together; a runner may be ended before. What is not said is kept.
    """
    connection = sys.modules.get("rekindle.sdk.connection.client")
    for client in list(getattr(connection, "_clients", {}).values()):
        client.report_taken()
