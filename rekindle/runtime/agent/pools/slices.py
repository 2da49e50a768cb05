"""A slice of inputs on its way to a runner. Which inputs, and when, the dispatchers know."""

from __future__ import annotations

import contextlib

from rekindle.runtime.agent.inputs.assignment import Assignment, AssignmentState, Slice
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.wire.frames import FrameError, Header
from rekindle.wire.phases import now_ns


def next_of(runner: Runner, inputs: list[Assignment], *, to_idle: bool) -> Slice:
    """A runner's next slice; its inputs are no longer waiting."""
    runner.handed += 1
    first = inputs[0]
    left = {one.index: one for one in inputs}
    piece = Slice(runner.handed, first.order, now_ns(), left, to_idle)
    if runner.handed == 1 and first.order.received_ns <= runner.ready_ns:
        piece.started_for = first.index
    for one in inputs:
        one.move(AssignmentState.HANDED)
        one.runner_id = runner.id
    return piece


def send(runner: Runner, inputs: list[Assignment], max_result_bytes: int, more: Header) -> None:
    """Send the inputs of one; ``more`` names it, or their slots."""
    first = inputs[0]
    payloads = [one.payload for one in inputs]
    header: Header = {
        "op": "inputs",
        "call_id": first.order.call_id,
        "method": first.method,
        "depth": first.order.depth,
        "indexes": [one.index for one in inputs],
        "sizes": [len(payload) for payload in payloads],
        "max_result_bytes": max_result_bytes,
        **more,
    }
    with contextlib.suppress(FrameError):  # its end is reported next, and gives them back
        runner.channel.send(header, payloads)
