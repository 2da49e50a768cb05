"""What an instance keeps of calls that are done: for whom, and how long. For the status."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rekindle.controller.settings import Settings
from rekindle.controller.state import Function
from rekindle.controller.storage.store import QueueStore
from rekindle.wire import rekindle_pb2 as pb

#: Kept calls that are looked at one by one; of more than these only the number is told.
MOST = 1000


async def report(
    store: QueueStore, settings: Settings, functions: Sequence[Function]
) -> pb.KeptStatus:
    """Calls that are kept by function, those that are forgotten first in front.

    Seconds from now, as everything in a status. Raises ServiceError.
    """
    count, found = await store.kept(MOST)
    now = time.time()
    groups: dict[tuple[str, str], list[float]] = {}
    for _, until, at in found:
        groups.setdefault((at.app, at.function), []).append(max(0.0, until - now))
    untaken = await store.how_many_once([one.function_id for one in functions])
    return pb.KeptStatus(
        calls=count,
        seen=len(found),
        of=[
            pb.KeptCalls(
                app=app,
                function=function,
                calls=len(left),
                first_gone_in_s=round(min(left), 1),
                last_gone_in_s=round(max(left), 1),
            )
            for (app, function), left in groups.items()
        ],
        not_taken=[
            pb.KeptCalls(app=one.app.name, function=one.name, calls=calls)
            for one, calls in zip(functions, untaken, strict=True)
            if calls
        ],
        spawned_kept_s=settings.result_ttl_s,
        waited_for_kept_s=settings.invoke_ttl_s,
    )
