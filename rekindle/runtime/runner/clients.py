"""Whether user code in a template has been a client of an instance: its copies have that to forget.

Our own modules register at fork what forgets connections, threads and locks of the parent. A
template that never was a client has nothing of the kind, and each of its copies would run a hundred
lines for that. Loads nothing of it: what no one has loaded has no state.
"""

from __future__ import annotations

import sys

from rekindle.forkserver import forking

#: What is true in a process that is a client, or was: module, and its variable.
_STATE = (
    ("rekindle.sdk.connection.background", "_current"),
    ("rekindle.sdk.connection.background", "_inherited"),
    ("rekindle.sdk.local.session", "_connected"),
    ("rekindle.sdk.objects.link", "_links"),
    ("rekindle.sdk.calls.lease", "held"),
    ("rekindle.wire.reuse", "_ends"),
    ("rekindle.wire.memory", "_forking"),
)


def was_client() -> bool:
    """See the module."""
    return any(getattr(sys.modules.get(module), name, None) for module, name in _STATE)


def needless_handlers() -> list[object]:
    """Of the handlers that copies of this process would run, ours that have nothing to do."""
    if was_client():
        return []
    return [one for one in forking.tracked() if _is_ours(one)]


def _is_ours(handler: object) -> bool:
    module = getattr(handler, "__module__", None)
    return isinstance(module, str) and module.startswith("rekindle.")
