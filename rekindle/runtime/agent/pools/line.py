"""The order in which the inputs of a pool wait, and which of them go to a runner together.

Who gets them, and what comes of them, is the dispatcher's.
"""

from __future__ import annotations

from collections import deque

from rekindle.runtime.agent.inputs.assignment import Assignment
from rekindle.runtime.agent.pools.pace import MAX_SLICE_BYTES


def add(waiting: deque[Assignment], inputs: list[Assignment]) -> None:
    """Inputs of one order wait from now on, those of a call in their order."""
    last, first = (waiting[-1] if waiting else inputs[0]), inputs[0]
    overtaken = first.order.call_id == last.order.call_id and first.index < last.index
    if (overtaken and not first.order.suspect) or first.order.depth > last.order.depth:
        merge(waiting, inputs)  # requests overtake each other; runners wait for those below them
    else:
        waiting.extend(inputs)


def merge(waiting: deque[Assignment], inputs: list[Assignment]) -> None:
    """Put inputs where their depth and age say, whatever way they came."""
    if not inputs:
        return
    last = max(map(_age, inputs))
    before = []
    while waiting and _age(waiting[0]) < last:
        before.append(waiting.popleft())
    waiting.extendleft(sorted(before + inputs, key=_age, reverse=True))


def take_out(waiting: deque[Assignment], most: int) -> list[Assignment]:
    """The inputs that are next: of one call and method, in order; a suspect alone."""
    first = waiting.popleft()
    piece, size = [first], len(first.payload)
    call_id, method = first.order.call_id, first.method
    while waiting and len(piece) < most and not first.order.suspect:
        one = waiting[0]
        size += len(one.payload)
        if one.order.call_id != call_id or one.method != method or size > MAX_SLICE_BYTES:
            break
        if one.order.suspect:
            break
        piece.append(waiting.popleft())
    return piece


def interleave(waiting: deque[Assignment], takers: int, each: int) -> None:
    """Have the slices that so many runners get next begin with the inputs that are next.

    In slices as they stand the second result would be the first runner's second: whoever wants
    results in their order would have most of them at the end.
    """
    count = min(len(waiting), takers * each)
    if takers < 2 or count <= takers:
        return
    head = [waiting.popleft() for _ in range(count)]
    first = head[0]
    call_id, method = first.order.call_id, first.method
    if all(
        one.order.call_id == call_id and one.method == method and not one.order.suspect
        for one in head
    ):
        head = [one for at in range(takers) for one in head[at::takers]]
    waiting.extendleft(reversed(head))


def _age(one: Assignment) -> tuple[int, bool, int, str, int]:
    """What sorts inputs by when they were submitted, those of a call by their index.

    The deepest first: runners wait for them, and what was begun is to end. Those that a runner died
    with last: each may cost one more start, and the others would wait for it.
    """
    order = one.order
    return -order.depth, order.suspect, order.submitted_ns, order.call_id, one.index
