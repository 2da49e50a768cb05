"""A runner's life: become unique, run the ``@enter(snap=False)`` hooks, then input after input."""

from __future__ import annotations

import os
import sys
from typing import Any

from rekindle.exception import ExecutionError
from rekindle.forkserver import limits, park
from rekindle.forkserver.template import Become
from rekindle.runtime.runner import unique
from rekindle.runtime.runner.service import Service
from rekindle.sdk import context
from rekindle.wire.frames import FrameError, FrameSocket, Header
from rekindle.wire.phases import Mark, Phase, now_ns
from rekindle.wire.serialization import deserialize, record_exception, serialize


def run(service: Service, become: Become, user_threads: dict[str, str] | None) -> int:
    """Serve until told to stop; returns the exit status.

    ``user_threads``: what the user's environment says of thread pools, where the template limited
    them; None where nothing was limited.
    """
    channel, marks = become.channel, become.marks
    order = become.order
    try:
        if become.fds:
            park.take_output(become.fds[0], become.fds[1])
        os.environ.update(order["env"])
        unique.make_unique()
        if user_threads is not None:
            limits.lift(user_threads)
        marks.append((Phase.RESEED.value, now_ns()))
        if service.enter:
            service.run_hooks(service.enter)
            marks.append((Phase.ENTER_RUNNER.value, now_ns()))
    except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
        send_failure(channel, {"op": "start_failed", "stage": "enter", "marks": marks}, error)
        return 1
    park.flush_output()
    channel.send({"op": "ready", "marks": marks})
    try:
        return _serve(service, channel)
    except FrameError:
        return 0  # the agent is gone, and with it whoever waits for a result


def _serve(service: Service, channel: FrameSocket) -> int:
    while True:
        header, body, _fds = channel.receive()
        if header["op"] == "input":
            _run_input(service, channel, header, body)
        elif header["op"] == "stop":
            return _stop(service, channel)
        else:
            raise ValueError(f"an order that a runner does not know: {header['op']}")


def _run_input(service: Service, channel: FrameSocket, header: Header, body: bytes) -> None:
    marks: list[Mark] = []
    reply: Header = {"op": "result", "ok": True, "marks": marks}
    method = header["method"]
    what = f"{service.name}.{method}" if method else service.name
    data = b""
    token = context.set_current(header["input_id"], header["call_id"])
    failure: BaseException | None = None
    try:
        args, kwargs = deserialize(body, f"the arguments of {what}")
        body = b""
        marks.append((Phase.LOAD_INPUT.value, now_ns()))
        value = service.call(method, args, kwargs)
        marks.append((Phase.EXECUTE.value, now_ns()))
        data = serialize(value, f"the result of {what}")
        del value, args, kwargs
    except SystemExit as error:
        failure = ExecutionError(
            f"{what} called sys.exit({error.code!r}); a function ends by returning or raising"
        )
    except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
        failure = error
    finally:
        context.reset_current(token)
    if failure is not None and (not marks or marks[-1][0] != Phase.EXECUTE.value):
        marks.append((Phase.EXECUTE.value, now_ns()))
    park.flush_output()
    if failure is not None:
        send_failure(channel, {**reply, "ok": False}, failure)
    else:
        channel.send(reply, data)


def send_failure(channel: FrameSocket, header: Header, error: BaseException) -> None:
    """Send ``header`` with a record of ``error``; its pickle is the body."""
    park.flush_output()
    record = record_exception(error)
    channel.send(
        {
            **header,
            "error_type": record.type_name,
            "message": record.message,
            "traceback": record.traceback,
        },
        record.data,
    )


def _stop(service: Service, channel: FrameSocket) -> int:
    """Run the exit hooks; what they raise is shown and does no more harm."""
    status = 0
    try:
        service.run_hooks(service.exit)
    except BaseException as error:  # noqa: BLE001 - shown, as there is no caller to raise it to
        sys.stderr.write(_traceback_text(error))
        status = 1
    park.flush_output()
    channel.send({"op": "stopped", "status": status})
    return status


def _traceback_text(error: BaseException) -> str:
    record: Any = record_exception(error)
    return f"{record.traceback.rstrip()}\n"
