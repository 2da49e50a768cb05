"""Pool sizes of a function while its app runs: ``autoscaler``, and settings by name.

What is set holds until the app is run again. Imported when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Unpack

from rekindle.sdk import checks
from rekindle.sdk.calls.callers import Caller
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.client import Client
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.dual import dual
from rekindle.sdk.options import PoolOptions, check_pool
from rekindle.sdk.user_frames import trims
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import option_messages


@dataclass(frozen=True)
class AutoscalerSettings:
    """What is in force. ``max_containers`` None: no limit; ``spare_containers`` None: the policy's.

    ``scaledown_window`` is in seconds.
    """

    min_containers: int
    max_containers: int | None
    buffer_containers: int
    spare_containers: int | None
    scaledown_window: float


#: What None stands for in ``autoscaler.update()``.
_NONE: PoolOptions = {
    "min_containers": 0,
    "max_containers": 0,
    "buffer_containers": 0,
    "spare_containers": -1,
    "scaledown_window": 60,
}


@trims
class Autoscaler:
    """``f.autoscaler``: the pool of a function, or of the instance with these parameters."""

    def __init__(self, declaration: Declaration, params: Callable[[], bytes]) -> None:
        self._declaration = declaration
        self._params = params

    @dual
    async def settings(self, caller: Caller) -> AutoscalerSettings:
        """``settings()``: what is in force now. Raises ExecutionError, NotFoundError."""
        reply = await _set(caller, self._declaration, self._params, _request())
        now = reply.settings
        return AutoscalerSettings(
            min_containers=now.min_containers,
            max_containers=now.max_containers if now.HasField("max_containers") else None,
            buffer_containers=now.buffer_containers,
            spare_containers=now.spare_containers if now.HasField("spare_containers") else None,
            scaledown_window=now.scaledown_window,
        )

    @dual
    async def update(self, caller: Caller, **settings: Unpack[PoolOptions]) -> None:
        """``update(*, min_containers, max_containers, buffer_containers, scaledown_window, ...)``.

        As ``update_autoscaler``, but None is a value: none to keep, no limit, the default window.
        """
        given = {**settings}
        for name, value in _NONE.items():
            if name in given and given[name] is None:
                given[name] = value
        await update(caller, self._declaration, self._params, **given)


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


async def update(
    caller: Caller, declaration: Declaration, params: Callable[[], bytes], **settings: Any
) -> None:
    """``update_autoscaler`` of a function, or of the instance with these parameters."""
    await _set(caller, declaration, params, _request(**settings))


async def _set(
    caller: Caller,
    declaration: Declaration,
    params: Callable[[], bytes],
    request: pb.SetPoolRequest,
) -> pb.SetPoolReply:
    """Ask for changes, or for none; what is in force then."""
    client, request.function_id, _ = await caller.in_thread(declaration.resolve)
    request.params = await caller.in_thread(params)
    request.every_instance, request.pinned = not request.params, declaration.pinned
    return await caller.run(client.request("SetPool", request, pb.SetPoolReply))


def set_by_name(client: Client, name: str, **given: Any) -> pb.SetPoolReply:
    """Set something of ``APP.FUNCTION``, of every open app of that name; what is in force then.

    Raises InvalidError, and NotFoundError with the nearest names.
    """
    request = _request(**given)
    request.function = name
    return background().run(client.request("SetPool", request, pb.SetPoolReply))
