"""A generator beside others: its items go to its own reader, at the pace of that.

What ends it early (its reader has gone, it was cancelled or ran for too long) closes it at its
``yield``, or is raised where it computes; never in its ``finally``.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from rekindle.forkserver import forking
from rekindle.runtime.runner.generators import Pack, close_aio, iterator_of
from rekindle.runtime.runner.many.interrupt import Interrupt
from rekindle.runtime.runner.many.run import Run
from rekindle.wire.direct_stream import ItemWriter, ReaderGoneError
from rekindle.wire.phases import now_ns

if TYPE_CHECKING:
    import asyncio


def send(
    run: Run,
    made: Any,
    interrupt: Interrupt,
    what: str,
    loop: asyncio.AbstractEventLoop | None = None,
) -> None:
    """Send what a generator yields, in this thread. Raises what it raises, and InvalidError.

    ``loop``: the runner's, where that runs: what an async one waits for may belong to it.
    """
    interrupt.disarm()
    if isinstance(made, AsyncIterator):
        import asyncio

        if loop is None:
            asyncio.run(_send_in_thread(run, made))
        else:
            sending = send_aio(run, made, loop.call_soon_threadsafe)
            asyncio.run_coroutine_threadsafe(sending, loop).result()
        return
    stream = run.stream
    assert stream is not None
    items = iterator_of(made, what)
    writer = stream.open((run.received_ns, run.loaded_ns))
    lock, closed = threading.Lock(), False

    def end() -> None:
        with lock:
            if not closed:
                writer.stop()
        interrupt()

    run.interrupt = end
    try:
        with suppress(ReaderGoneError):
            _send(run, items, writer, stream.pack, interrupt)
    finally:
        interrupt.disarm()
        try:
            if (close := getattr(items, "close", None)) is not None:
                close()
        finally:
            with lock:
                closed = True
                writer.close()


def _send(
    run: Run, items: Iterator[Any], writer: ItemWriter, pack: Pack, interrupt: Interrupt
) -> None:
    while True:
        interrupt.arm()
        try:
            if run.cause is not None:  # while it waited for its reader
                return
            item = next(items)
        except StopIteration:
            return
        finally:
            interrupt.disarm()
        forking.end_users_child()
        at_ns = now_ns()
        writer.send(pack(item), at_ns)


async def _send_in_thread(run: Run, made: AsyncIterator[Any]) -> None:
    """As ``send_aio``, by a loop of this thread's own."""
    import asyncio

    loop = asyncio.get_running_loop()
    sending = asyncio.ensure_future(send_aio(run, made, loop.call_soon_threadsafe))
    await asyncio.wait([sending])
    sending.result()


async def send_aio(
    run: Run,
    made: AsyncIterator[Any],
    call: Callable[[Callable[[], object]], object] | None = None,
) -> None:
    """The same as a task. ``call``: how another thread calls into its loop."""
    import asyncio

    stream, task = run.stream, asyncio.current_task()
    assert stream is not None and task is not None
    writer, closes = stream.open((run.received_ns, run.loaded_ns)), False

    def end() -> None:
        if not closes:
            task.cancel()

    run.interrupt = end if call is None else partial(call, end)
    try:
        with suppress(ReaderGoneError):
            if run.cause is not None:
                return
            async for item in made:
                forking.end_users_child()
                at_ns = now_ns()
                await writer.send_aio(stream.pack(item), at_ns)
    finally:
        closes = True
        try:
            await close_aio(made)
        finally:
            writer.close()
