"""``map`` and ``spawn_map`` for callers that block: the feeder is a thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import TYPE_CHECKING, Any

from rekindle.execution import nesting
from rekindle.sdk.calls.callers import Signal
from rekindle.sdk.calls.map_call import MapCall, MapOptions, Unused, cancel_rest, handle
from rekindle.sdk.calls.submission import Submission
from rekindle.sdk.calls.window import Window
from rekindle.sdk.connection.background import background
from rekindle.sdk.function_call import FunctionCall

if TYPE_CHECKING:
    from rekindle.sdk.function import Function


def run(
    function: Function[..., Any],
    inputs: Iterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
    options: MapOptions,
) -> Iterator[Any]:
    """The iterator that ``map`` gives."""
    unused = Unused(function.name)

    def values() -> Iterator[Any]:
        unused.used = True
        yield from _iterate(function, inputs, kwargs, options)

    return _Values(values(), unused)


class _Values(Iterator[Any]):
    """An iterator that owns the warning."""

    def __init__(self, values: Iterator[Any], unused: Unused) -> None:
        self._values = values
        self._unused = unused

    def __next__(self) -> Any:
        return next(self._values)

    def close(self) -> None:
        """End it early: no more inputs are taken, what has not been run is cancelled."""
        self._values.close()  # type: ignore[attr-defined]


def _iterate(
    function: Function[..., Any],
    inputs: Iterator[tuple[Any, ...]],
    kwargs: dict[str, Any] | None,
    options: MapOptions,
) -> Iterator[Any]:
    arrived, room = Signal(), Signal()
    call = MapCall(function, kwargs, options, arrived, room)

    def feed() -> None:
        try:
            for args in inputs:
                call.offer(args)
                while call.window.full():
                    room.wait()
                if call.window.closed:
                    return
        except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
            call.fail(error)
        else:
            call.complete()

    call.start()
    threading.Thread(
        target=contextvars.copy_context().run,
        args=(feed,),
        name="rekindle-map-inputs",
        daemon=True,
    ).start()
    try:
        while True:
            arrived.clear()
            due = call.take()
            if due is None:
                return
            for result, raw, data in call.taken(due):
                if data is not None:
                    futures.wait((data,))
                yield call.given(result, raw, data)
            call.took(due)
            if not due:
                with nesting.waiting():
                    arrived.wait()
    finally:
        call.abandon()


def spawn(
    function: Function[..., Any], inputs: Iterator[tuple[Any, ...]], kwargs: dict[str, Any] | None
) -> FunctionCall:
    """Submit all inputs as one call, as they come from the iterators."""
    room = Signal()
    window = Window(room)
    submission = Submission(
        function, kwargs, window, lambda count, size: window.give_back(size, count)
    )
    running = asyncio.run_coroutine_threadsafe(submission.run(), background().loop)
    running.add_done_callback(lambda _: window.close())
    try:
        for args in inputs:
            submission.offer(args)
            while window.full():
                with nesting.waiting():
                    room.wait()
            if window.closed:
                break  # it has failed
        submission.complete()
        with nesting.waiting():
            running.result()
    except BaseException:
        running.cancel()
        background().run(cancel_rest(submission))
        raise
    return handle(submission)
