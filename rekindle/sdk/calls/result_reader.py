"""Reading the results of a call as they complete, into a buffer; on the background thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from rekindle.sdk.calls.result_buffer import ResultBuffer

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.running import RunningApp


async def read_all(
    client: Client,
    call_id: str,
    arrivals: ResultBuffer,
    running: RunningApp | None,
    *,
    end: Callable[[], int | None],
) -> None:
    """Return when all results have come.

    ``end``: gives the index after the last, or None while that is not known; then it is when the
    controller says so. Raises what the client's requests raise.
    """
    while True:
        last = end()
        bound = arrivals.cut or last or 0
        stream = client.results(call_id, arrivals.seen, end_index=bound)
        async with contextlib.aclosing(stream):
            async for batch, log_seq in stream:
                if running is not None and running.logs is not None:
                    await running.logs.reached(log_seq)
                arrivals.add(batch)
                bound = arrivals.cut or end() or 0
                if bound and arrivals.seen.all_below(bound):
                    break
                if arrivals.crowded():
                    if arrivals.let_go():
                        break
                    await arrivals.room()
            else:
                if not (arrivals.cut and arrivals.seen.all_below(arrivals.cut)):
                    return  # the controller says that there are no more
        if arrivals.cut:
            if arrivals.seen.all_below(arrivals.cut):
                await arrivals.room()  # then those that were let go
                arrivals.cut = 0
        elif bound and arrivals.seen.all_below(bound):
            return
