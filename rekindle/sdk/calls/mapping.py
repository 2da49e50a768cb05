"""``map`` and its family: inputs fed as they are taken, results as they come, both bounded.

A feeder (a thread, or a task of the caller's loop) takes inputs from the user's iterators and
pickles them; the background thread submits many in one request, several requests at a time, and
reads the results, many in one message; the consumer is the caller's iteration. The feeder waits
when too many inputs have no taken result, so neither side runs away from the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from rekindle.exception import Error, InternalFailure
from rekindle.execution import nesting
from rekindle.sdk import progress
from rekindle.sdk.calls.callers import Caller, Signal
from rekindle.sdk.calls.outcome import passable, settle
from rekindle.sdk.calls.result_buffer import ResultBuffer
from rekindle.sdk.calls.result_reader import read_all, values
from rekindle.sdk.calls.submission import Submission
from rekindle.sdk.calls.target import CallTarget
from rekindle.sdk.calls.window import Window
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.seen import Arrived
from rekindle.sdk.function_call import FunctionCall
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.usercode import came_by_signal

log = logging.getLogger(__name__)

#: So many taken results are reported at a time; the last ones go with the whole call.
_REPORT = 4096
#: To cancel what no one waits for, a controller that is away, or that waits for Redis, is waited
#: for so long.
_CANCEL_S = 2.0


def run(
    caller: Caller,
    target: Callable[[Caller], Awaitable[CallTarget]],
    inputs: AsyncIterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
    ordered: bool,
    return_exceptions: bool,
) -> AsyncGenerator[Any, None]:
    """The values of ``map``; nothing runs, and no target is needed, before one is asked for."""

    async def begin() -> _MapCall:
        return _MapCall(caller, await target(caller), inputs, kwargs, ordered, return_exceptions)

    return values(caller, begin)


class _MapCall:
    """A map on its way: the feeding of its inputs, the reading of its results, and its end."""

    def __init__(
        self,
        caller: Caller,
        target: CallTarget,
        inputs: AsyncIterator[tuple[Any, ...]],
        kwargs: dict[str, Any] | None,
        ordered: bool,
        return_exceptions: bool,
    ) -> None:
        self.client = target.client
        self._target = target
        self._caller, self._inputs = caller, inputs
        self.arrived = caller.signal()
        self.buffer = ResultBuffer(ordered, self.arrived)
        self._room = caller.signal()
        self._window = Window(self._room)
        self._submission = Submission(target, kwargs, self._window, read_once=True)
        self._return_exceptions = return_exceptions
        self._over = False
        self._taken: list[int] = []  # results that the caller has, and the controller keeps
        self._task: asyncio.Task[None] | None = None  # on the background thread
        self._wait: progress.Wait | None = None
        self._stop_feeding: Callable[[], object] = lambda: None

    async def _feed(self) -> None:
        caller = self._caller
        try:
            async for args in self._inputs:
                self._submission.offer(args)
                while True:
                    if not self._window.full():
                        break
                    await caller.wait(self._room)
                if self._window.closed:
                    return
                await caller.pause()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the values are taken
            self.buffer.fail(error)
        else:
            self._submission.complete()

    def _count(self) -> progress.Count:
        submission = self._submission
        return len(self.buffer.seen), submission.count, submission.completed

    # ---- for ``values``, on the caller's side --------------------------------------------------

    def begin(self) -> None:
        """See Source."""
        self._wait = progress.map_begins(self._target, self._count)
        background().spawn(self._run(), "run a map")
        self._stop_feeding = self._caller.start(self._feed())

    def give(self, result: pb.Result, data: Future[bytes] | None) -> Any:
        """The value of a result, or its exception; raises it where asked to."""
        submitted_ns, size = self._submission.offered.pop(result.index)
        self._window.give_back(size)
        try:
            return settle(result, self._target.name, submitted_ns, data)
        except Exception as error:
            if self._return_exceptions and not came_by_signal(error):
                return error
            if (passed := passable(error)) is not error:
                raise passed from error
            raise

    def took(self, due: list[Arrived]) -> None:
        """The caller has all of these: they need not be kept for it."""
        self._taken += [index for index, _ in due]
        if len(self._taken) >= _REPORT:
            taken, self._taken = self._taken, []
            self._submission.report_taken(taken)

    def close(self) -> None:
        """The caller takes no more: what has not been run need not be."""
        progress.ended(self._wait)
        self._stop_feeding()
        self._window.close()
        if not self._over:
            background().spawn(self._cancel(), "cancel the rest of a map")
        elif self._submission.submitted:
            self._submission.report_taken(whole=True)

    # ---- on the background thread --------------------------------------------------------------

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        tasks = (
            asyncio.ensure_future(self._submission.run()),
            asyncio.ensure_future(self._read()),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in filter(asyncio.Future.done, tasks):
                task.result()
            self._over = True
            self.buffer.end()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
            self.buffer.fail(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        submission, seen = self._submission, self.buffer.seen
        await submission.begun.wait()
        if not submission.submitted:
            return
        await read_all(
            self._target,
            submission.call_id,
            self.buffer,
            end=lambda: submission.count if submission.completed else None,
        )
        if not submission.completed or len(seen) != submission.count:
            raise InternalFailure(
                f"the results of {self._target.name}.map() ended after {len(seen)} of "
                f"{submission.count}; see the controller's log"
            )

    async def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await cancel_rest(self._submission)
        if self._submission.submitted:
            self._submission.report_taken(whole=True)


async def cancel_rest(submission: Submission) -> None:
    """Inputs of a call that no one waits for need not run."""
    if not submission.submitted:
        return
    try:
        async with asyncio.timeout(_CANCEL_S):
            await submission.target.client.cancel_call(submission.call_id, patience_s=_CANCEL_S)
    except TimeoutError:  # it cancels them when Redis takes that
        log.info("the controller has not yet cancelled the rest of a map")
    except Error as error:  # they run, then, and no one takes their results
        log.info("the rest of a map could not be cancelled: %s", error)


async def _submitted(submission: Submission, window: Window) -> None:
    """Not closed by a callback of the future: what a signal's handler raises there is dropped."""
    try:
        await submission.run()
    finally:
        window.close()


async def _offer(
    caller: Caller,
    submission: Submission,
    inputs: AsyncIterator[tuple[Any, ...]],
    window: Window,
    room: Signal,
) -> None:
    """A function of its own: in Python 3.12 and 3.13 the jump back behind a condition, to where a
    loop begins anew, is not within the ``try`` that is around the loop."""
    async for args in inputs:
        submission.offer(args)
        while window.full():
            with nesting.waiting():
                await caller.wait(room)
        await caller.pause()
        if window.closed:
            return  # it has failed


async def spawn(
    caller: Caller,
    target: CallTarget,
    inputs: AsyncIterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
) -> FunctionCall[Any]:
    """Submit all inputs as one call, as they come from the iterators."""
    room = caller.signal()
    window = Window(room)
    submission = Submission(target, kwargs, window, read_once=False)
    running: Future[None] | None = None
    try:
        running = background().start(_submitted(submission, window))
        await _offer(caller, submission, inputs, window, room)
        submission.complete()
        with nesting.waiting():
            await caller.done(running)
        running.result()
    except BaseException:
        if running is not None:
            running.cancel()
        await caller.run(cancel_rest(submission))
        raise
    return FunctionCall.of(target, submission.call_id, submission.count)
