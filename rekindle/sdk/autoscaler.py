"""Pool sizes of a function while its app runs: ``update_autoscaler``, and settings by name.

What is set holds until the app is run again. Imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from rekindle.sdk import checks
from rekindle.sdk.calls.callers import Caller
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.client import Client
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.options import PoolOptions, check_pool
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import option_messages


def _request(
    *,
    policy: str | None = None,
    options: Mapping[str, Any] | None = None,
    reset: bool = False,
    **settings: Unpack[PoolOptions],
) -> pb.SetPoolRequest:
    """``max_containers=0`` is no limit, ``spare_containers=-1`` leaves them to the policy.

    Raises InvalidError for what cannot be.
    """
    checks.unknown_keywords("update_autoscaler()", settings, PoolOptions.__annotations__)
    check_pool(settings)
    changes = pb.PoolChanges(
        min_containers=settings.get("min_containers"),
        max_containers=settings.get("max_containers"),
        buffer_containers=settings.get("buffer_containers"),
        spare_containers=settings.get("spare_containers"),
        scaledown_window_s=settings.get("scaledown_window"),
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
    await caller.run(client.request("SetPool", request, pb.SetPoolReply))


def set_by_name(client: Client, name: str, **given: Any) -> pb.SetPoolReply:
    """Set something of ``APP.FUNCTION``, of every open app of that name; what is in force then.

    Raises InvalidError, and NotFoundError with the nearest names.
    """
    request = _request(**given)
    request.function = name
    return background().run(client.request("SetPool", request, pb.SetPoolReply))
