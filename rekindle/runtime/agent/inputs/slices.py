"""A slice: inputs of one call that a runner was handed together, and the frame that takes them."""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.runtime.agent.inputs.assignment import Assignment, Order
from rekindle.wire.frames import Header

#: A slice's payloads take no more than this, unless it is one input alone.
MAX_SLICE_BYTES = 1 << 20


@dataclass(slots=True)
class Slice:
    """What is left of it is what has no result yet."""

    number: int
    order: Order
    handed_ns: int
    left: dict[int, Assignment]
    #: Whether its runner was idle when it got it.
    to_idle: bool
    #: The input that waited for the start of its runner, so that the start is in its record.
    started_for: int | None = None
    #: Inputs of it that have ended.
    taken: int = 0


def frame(number: int, inputs: list[Assignment]) -> tuple[Header, list[bytes]]:
    """The order that hands a slice to its runner: header, and body in pieces."""
    first = inputs[0]
    payloads = [one.payload for one in inputs]
    header: Header = {
        "op": "inputs",
        "slice": number,
        "call_id": first.order.call_id,
        "method": first.method,
        "depth": first.order.depth,
        "indexes": [one.index for one in inputs],
        "sizes": [len(payload) for payload in payloads],
    }
    return header, payloads
