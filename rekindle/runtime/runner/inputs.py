"""Inputs in a runner: unpickled, run, their results pickled, kept in the page and sent.

Inputs come in slices. Each one is for itself: it succeeds, raises or is cancelled alone. Between
two of them the agent can call the rest of a slice back.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

from rekindle.exception import ExecutionError, InputCancellation
from rekindle.execution import context, interaction, nested_calls, nesting
from rekindle.forkserver import forking, park
from rekindle.runtime.runner import other_python
from rekindle.runtime.runner.cancelling import Canceller
from rekindle.runtime.runner.service import Service
from rekindle.wire import finished
from rekindle.wire.exceptions import record_exception
from rekindle.wire.finished import Ending
from rekindle.wire.frames import FrameSocket, Header
from rekindle.wire.page import RunnerPage, cancel_token
from rekindle.wire.phases import now_ns
from rekindle.wire.serialization import serialize, unpickling_error

#: Results are sent at least this often while a slice goes on.
_SEND_EVERY_NS = 100_000_000


class Attempt:
    """One run of one input, and what came of it."""

    value: Any = None
    failure: BaseException | None = None
    cancelled = False
    began_ns = loaded_ns = ended_ns = 0


class Inputs:
    """Runs slices on a service."""

    def __init__(self, service: Service, channel: FrameSocket, page: RunnerPage) -> None:
        self.service = service
        self._channel = channel
        self._page = page
        self._canceller = Canceller(page)
        self._canceller.install()
        service.canceller = self._canceller

    def what(self, method: str) -> str:
        """How errors name what is run."""
        return self.service.what(method)

    def run(self, header: Header, body: bytes) -> None:
        """Run a slice, in order, and send the results; what was called back is left out."""
        page, number, call_id = self._page, header["slice"], header["call_id"]
        method, depth, limit_bytes = header["method"], header["depth"], header["max_result_bytes"]
        result, token = f"the result of {self.what(method)}", cancel_token(number, 0)
        nesting.begin(depth)
        page.call(call_id)
        page.begin_slice(number)
        sent_ns = ended_ns = now_ns()
        at = 0
        for index, size in zip(header["indexes"], header["sizes"], strict=True):
            if page.recalled >= number:
                break
            if ended_ns - sent_ns > _SEND_EVERY_NS:
                self._send(number, last=False)
                sent_ns = ended_ns
            payload = body if size == len(body) else body[at : at + size]
            at += size
            if nesting.waits:  # of threads that the last input left behind
                nesting.begin(depth)
            input_id = f"{call_id}:{index}"
            done = self.attempt(
                input_id, call_id, method, index, token + index, pickle.loads, payload
            )
            self._keep(number, index, result, done, limit_bytes)
            ended_ns = done.ended_ns
        self._send(number, last=True)

    def attempt(
        self,
        input_id: str,
        call_id: str,
        method: str,
        index: int,
        token: int,
        load: Callable[[Any], Any],
        data: Any,
        call: Callable[[str, Any, Any], Any] | None = None,
    ) -> Attempt:
        """Run one input; whatever happens is in what is returned.

        ``index`` names the run in the page, ``token`` in a cancellation. ``load`` unpickles
        ``(args, kwargs)`` from ``data``; ``call`` is what they are given to, where it is not the
        function alone. The caller says in the page when the run has ended.
        """
        canceller = self._canceller
        done = Attempt()
        current = context.current.set((input_id, call_id))
        done.began_ns = done.loaded_ns = now_ns()
        canceller.hit = False
        try:
            try:
                # Armed before the agent can see that it began.
                canceller.armed = token
                self._page.begin(index, done.began_ns)
                try:
                    args, kwargs = load(data)
                except BaseException as error:
                    what = f"the arguments of {self.what(method)}"
                    raise unpickling_error(what, error) from error
                done.loaded_ns = now_ns()
                done.value = (call or self.service.call)(method, args, kwargs)
                if forking.is_users_child:
                    forking.end_users_child()
                del args, kwargs
            finally:
                # From here on the signal does nothing; before, it raises once at most, so the
                # outer handlers see whatever it raised, wherever that was.
                canceller.armed = 0
        except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
            forking.end_users_child(error)
            done.failure = error
        if interaction.held is not None:
            interaction.release()
        done.ended_ns = now_ns()
        context.current.reset(current)
        if canceller.hit:
            # Whatever the function made of it.
            done.cancelled, done.value = True, None
            done.failure = done.failure or InputCancellation("the input was cancelled")
        return done

    def _keep(self, number: int, index: int, what: str, done: Attempt, limit_bytes: int) -> None:
        """Pickle what came of an input, and keep it until it is sent; ``what`` names it."""
        page, began_ns, ended_ns = self._page, done.began_ns, done.ended_ns
        ending, data = pack_ending(
            done.value, done.failure, what, limit_bytes, cancelled=done.cancelled
        )
        if ending is Ending.RAISED:
            page.fail()
        record = finished.head(index, ending, began_ns, done.loaded_ns, ended_ns, len(data)) + data
        if not page.finish(record, began_ns, ended_ns):
            self._send(number, last=False)
            if not page.finish(record, began_ns, ended_ns):
                self._channel.send(_results(number, last=False), record)
                page.end(began_ns, ended_ns)

    def _send(self, number: int, *, last: bool) -> None:
        park.flush_output()
        report_nested(self._channel.send)
        self._channel.send(_results(number, last=last), self._page.kept())
        self._page.sent()


def report_nested(send: Callable[[Header, bytes], None]) -> None:
    """Tell the agent of calls that inputs here have made, where there were any."""
    if calls := nested_calls.take():
        send({"op": "nested"}, json.dumps(calls).encode())


def _results(number: int, *, last: bool) -> Header:
    return {"op": "results", "slice": number, "last": last}


def pack_ending(
    value: Any, failure: BaseException | None, what: str, limit_bytes: int, *, cancelled: bool
) -> tuple[Ending, bytes]:
    """What came of an input, for its record.

    ``what`` is how errors name its value, ``limit_bytes`` what an exception may take: the agent
    refuses a value that is larger.
    """
    if cancelled:
        return Ending.CANCELLED, b""
    if failure is None:
        try:
            return Ending.RETURNED, serialize(value, what)
        except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
            failure = error
    return Ending.RAISED, _describe(failure, limit_bytes)


def _describe(error: BaseException, limit_bytes: int) -> bytes:
    if isinstance(error, InputCancellation):
        # Raised by the user's own code; the type is not for callers to catch.
        error = ExecutionError(f"the function raised {type(error).__name__}: {error}")
    other_python.explain(error)
    record = record_exception(error, limit_bytes=limit_bytes)
    return finished.failure(record.description(), record.data)


def send_failure(channel: FrameSocket, header: Header, error: BaseException) -> None:
    """Send ``header`` with a record of ``error``; its pickle is the body."""
    park.flush_output()
    other_python.explain(error)
    record = record_exception(error)
    channel.send({**header, **record.description()}, record.data)
