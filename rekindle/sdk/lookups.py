"""Ids of functions by their names: asked for once, and of a deployed app again after a while."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

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
    handle = known(client, app, name, version)
    if handle is None:
        handle = background().run(client.find(app, name, version))
        now = time.monotonic()
        for place, (at, _) in list(_found.items()):
            if now - at >= _KEPT_S:
                _found.pop(place, None)
        _found[client, app, name, version] = (now, handle)
    return handle


def known(client: Client, app: str, name: str, version: int = 0) -> pb.FunctionHandle | None:
    """What ``find`` answers without asking; None: it would ask."""
    at, handle = _found.get((client, app, name, version), (0.0, None))
    return handle if time.monotonic() - at < _KEPT_S else None


def forget(client: Client, function_id: str) -> None:
    """There is a newer version: who has the name of this function asks again."""
    for place, (_, handle) in list(_found.items()):
        if place[0] is client and handle.function_id == function_id:
            _found.pop(place, None)


def forget_all() -> None:
    """Who has a name asks again."""
    _found.clear()


_of_app: dict[tuple[str, str], str] = {}


def function_id_of(app_id: str, name: str, client: Callable[[], Client]) -> str:
    """The id of a function of the app that this runner is of; that never changes.

    Raises NotFoundError.
    """
    found = known_id(app_id, name)
    if not found:
        found = _of_app[app_id, name] = background().run(client().lookup(app_id, name))
    return found


def known_id(app_id: str, name: str) -> str:
    """What ``function_id_of`` answers without asking; "": it would ask."""
    return _of_app.get((app_id, name), "")


os.register_at_fork(after_in_child=_found.clear)
