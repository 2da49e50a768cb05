"""One map on its way: its submission, the reading of its results, and its end."""

from __future__ import annotations

import asyncio
import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rekindle.exception import Error, InternalFailure
from rekindle.sdk.calls.callers import AioSignal, Signal
from rekindle.sdk.calls.outcome import passable, settle
from rekindle.sdk.calls.result_buffer import Arrived, ResultBuffer
from rekindle.sdk.calls.result_reader import read_all
from rekindle.sdk.calls.submission import Submission
from rekindle.sdk.calls.window import Window
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.blob_offload import Fetched, fetched
from rekindle.sdk.function_call import FunctionCall

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from concurrent.futures import Future

    from rekindle.sdk.function import Function
    from rekindle.wire import rekindle_pb2 as pb

log = logging.getLogger(__name__)

#: So many results are told to be taken at a time; the last ones go with the whole call.
_TELL = 4096
#: A controller that is away is not waited for to tell it that nobody waits.
_CANCEL_S = 2.0


@dataclass(frozen=True)
class MapOptions:
    """How results are given."""

    order_outputs: bool = True
    return_exceptions: bool = False


class MapCall:
    """A map. ``offer`` and ``complete`` are the feeder's, ``take`` and ``given`` the consumer's."""

    def __init__(
        self,
        function: Function[..., Any],
        kwargs: dict[str, Any] | None,
        options: MapOptions,
        arrived: Signal | AioSignal,
        room: Signal | AioSignal,
    ) -> None:
        self.window = Window(room)
        self._submission = Submission(function, kwargs, self.window)
        self._arrivals = ResultBuffer(options.order_outputs, arrived)
        self._options = options
        self._name = function.name
        self._tasks: set[asyncio.Task[None]] = set()  # of the background thread
        self._over = False
        self._had: list[int] = []  # results that the caller has, and the controller is not told
        self.offer = self._submission.offer
        self.complete = self._submission.complete
        self.fail = self._arrivals.fail
        self.take = self._arrivals.take

    def start(self) -> None:
        """Begin on the background thread."""
        background().loop.call_soon_threadsafe(self._spawn, self._run())

    def abandon(self) -> None:
        """The caller takes no more: what has not been run need not be."""
        self.window.close()
        if not self._over:
            background().loop.call_soon_threadsafe(self._cancel)
        elif self._submission.submitted:
            self._submission.let_go()

    def took(self, due: list[Arrived]) -> None:
        """The caller has all of these: they need not be kept for it."""
        self._had += [index for index, _ in due]
        if len(self._had) >= _TELL:
            had, self._had = self._had, []
            submission = self._submission
            submission.client.taken(submission.call_id, submission.function_id, had)

    def taken(self, due: list[Arrived]) -> Iterator[Fetched]:
        """What was taken, each with the future of data that is in the blob store."""
        return fetched(self._submission.client, due)

    def given(self, result: pb.Result, raw: bytes, data: Future[bytes] | None) -> Any:
        """The value of a result that was taken, or its exception; raises it where asked to.

        ``data`` is done.
        """
        submitted_ns, size = self._submission.offered.pop(result.index)
        self.window.give_back(size)
        try:
            came = data.result() if data is not None else None
            return settle(result, self._name, submitted_ns, came, raw)
        except Exception as error:
            if self._options.return_exceptions:
                return error
            if (passed := passable(error)) is not error:
                raise passed from error
            raise

    # ---- on the background thread --------------------------------------------------------------

    async def _run(self) -> None:
        tasks = (
            asyncio.ensure_future(self._submission.run()),
            asyncio.ensure_future(self._read()),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
            self._over = True
            self._arrivals.end()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
            self._arrivals.fail(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        submission = self._submission
        await submission.begun.wait()
        if not submission.submitted:
            return
        await read_all(
            submission.client,
            submission.call_id,
            self._arrivals,
            submission.running,
            end=lambda: submission.count if submission.completed else None,
        )
        if not submission.completed or len(self._arrivals.seen) != submission.count:
            raise InternalFailure(
                f"the results of {self._name}.map() ended after {len(self._arrivals.seen)} of "
                f"{submission.count}; see the controller's log"
            )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cancel(self) -> None:
        running = set(self._tasks)
        for task in running:
            task.cancel()
        self._spawn(self._cancel_rest(running))

    async def _cancel_rest(self, running: set[asyncio.Task[None]]) -> None:
        if running:
            await asyncio.wait(running)
        await cancel_rest(self._submission)
        if self._submission.submitted:
            self._submission.let_go()


async def cancel_rest(submission: Submission) -> None:
    """Inputs of a call that nobody waits for need not run."""
    if not submission.submitted:
        return
    try:
        await submission.client.cancel_call(submission.call_id, patience_s=_CANCEL_S)
    except Error as error:  # they run, then, and nobody takes their results
        log.info("the rest of a map could not be cancelled: %s", error)


def handle(submission: Submission) -> FunctionCall:
    """The FunctionCall of inputs that are durable."""
    return FunctionCall(
        submission.call_id,
        function=submission.function.name,
        inputs=submission.count,
        instance=str(submission.client.instance),
        app=submission.running,
    )


class Unused:
    """Warns when a map was made and never iterated: then it did nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.used = False

    def __del__(self) -> None:
        if not self.used:
            warnings.warn(
                f"{self.name}.map(...) was never iterated, so nothing was run; iterate over it, or "
                f"use .for_each() or .spawn_map()",
                stacklevel=2,
            )
