"""Functions of deployed apps by their names: asked for once, and again after a while."""

from __future__ import annotations

import os
import time

from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.client import Client
from rekindle.wire import rekindle_pb2 as pb

#: An id is used for this long. A controller knows former ids, so it need not be the newest.
_KEPT_S = 300.0

_found: dict[tuple[Client, str, str, int], tuple[float, pb.FunctionHandle]] = {}


def find(client: Client, app: str, name: str, version: int = 0) -> pb.FunctionHandle:
    """The function of a deployed app; ``version`` 0: the present one.

    Raises NotFoundError with the nearest names, ExecutionError for an app that is stopped.
    """
    key, now = (client, app, name, version), time.monotonic()
    known = _found.get(key)
    if known is not None and now - known[0] < _KEPT_S:
        return known[1]
    handle = background().run(client.find(app, name, version))
    _found[key] = (now, handle)
    return handle


os.register_at_fork(after_in_child=_found.clear)
