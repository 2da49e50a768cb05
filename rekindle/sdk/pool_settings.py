"""Pool sizes of a function while its app runs: ``update_autoscaler``, and settings by name.

What is set holds until the app is run again. Imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.sdk.calls.callers import Caller
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.client import Client
from rekindle.sdk.declaration import Declaration
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict, option_messages


def check(
    *,
    min_containers: Any = None,
    max_containers: Any = None,
    buffer_containers: Any = None,
    scaledown_window: Any = None,
) -> None:
    """Refuse what cannot be. Raises InvalidError with parameter, value and allowed range.

    ``max_containers=0`` is no limit.
    """
    for name, value in (
        ("min_containers", min_containers),
        ("max_containers", max_containers),
        ("buffer_containers", buffer_containers),
    ):
        if value is not None:
            checks.number(name, value, 0, None, whole=True)
    if scaledown_window is not None:
        checks.number("scaledown_window", scaledown_window, 2, 3600, "of seconds")
    if min_containers and max_containers and min_containers > max_containers:
        raise InvalidError(
            f"min_containers={min_containers} must not be more than max_containers={max_containers}"
        )


def _request(
    *,
    min_containers: int | None = None,
    max_containers: int | None = None,
    buffer_containers: int | None = None,
    scaledown_window: float | None = None,
    policy: str | None = None,
    options: Mapping[str, Any] | None = None,
    reset: bool = False,
) -> pb.SetPoolRequest:
    check(
        min_containers=min_containers,
        max_containers=max_containers,
        buffer_containers=buffer_containers,
        scaledown_window=scaledown_window,
    )
    changes = pb.PoolChanges(
        min_containers=min_containers,
        max_containers=max_containers,
        buffer_containers=buffer_containers,
        scaledown_window_s=scaledown_window,
        policy=policy,
        policy_options=option_messages(options or {}),
    )
    return pb.SetPoolRequest(changes=changes, reset=reset)


async def update(caller: Caller, declaration: Declaration, params: bytes, **settings: Any) -> None:
    """``update_autoscaler`` of a function, or of the instance with these parameters."""
    request = _request(**settings)
    client, request.function_id, _ = declaration.resolve()
    request.params = params
    request.every_instance = not params
    await caller.run(client.set_pool(request))


def set_by_name(client: Client, name: str, **given: Any) -> pb.SetPoolReply:
    """Set something of ``APP.FUNCTION``, of every open app of that name; what is in force then.

    Raises InvalidError, and NotFoundError with the nearest names.
    """
    request = _request(**given)
    request.function = name
    return background().run(client.set_pool(request))


def recorded(client: Client, app_function: str, since_s: float = 0.0) -> dict[str, Any]:
    """What is recorded of ``APP.FUNCTION``, of the last ``since_s`` seconds (0: all of it).

    Raises NotFoundError with the nearest names.
    """
    request = pb.RecordedRequest(function=app_function, since_s=since_s)
    return as_dict(background().run(client.recorded(request)))
