"""Inputs in a runner: unpickled, run, their results pickled and sent."""

from __future__ import annotations

from rekindle.exception import ExecutionError
from rekindle.forkserver import park
from rekindle.runtime.runner.service import Service
from rekindle.sdk import context
from rekindle.wire.frames import FrameSocket, Header
from rekindle.wire.phases import Mark, Phase, now_ns
from rekindle.wire.serialization import deserialize, record_exception, serialize


def run_input(service: Service, channel: FrameSocket, header: Header, body: bytes) -> None:
    """Run one input and send its result."""
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
