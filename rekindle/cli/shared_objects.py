"""How Dicts and Queues stand in ``rekindle status`` and ``rekindle top``."""

from __future__ import annotations

from rekindle.cli.tables import size
from rekindle.counted import counted
from rekindle.wire import rekindle_pb2 as pb


def operations(one: pb.ObjectStatus) -> str:
    """``get 12, put 3``: entries or items, by what was done."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(one.operations.items())) or "-"


def lines(objects: pb.ObjectsStatus) -> list[str]:
    """How many there are, and what an operator has to know of how programs reach them."""
    found: list[str] = []
    for kind, what in (("dict", "Dict"), ("queue", "Queue")):
        of = [one for one in objects.objects if one.kind == kind]
        if of:
            count, bytes_ = sum(one.count for one in of), sum(one.size_bytes for one in of)
            things = ("entry", "entries") if kind == "dict" else ("item",)
            found.append(f"{counted(len(of), what)}: {counted(count, *things)}, {size(bytes_)}")
    if objects.more:
        found.append(
            f"{counted(objects.more, 'more Dict or Queue is', 'more Dicts and Queues are')} not "
            f"counted here."
        )
    if objects.through_controller:
        found.append(
            f"Dict and Queue go through the controller, not straight to Redis: "
            f"{objects.through_controller}"
        )
    if objects.barred:
        found.append(
            f"Programs could not reach Redis for Dict and Queue, and go through the controller "
            f"({counted(objects.barred, 'time')}; the last one: {objects.barred_reason})"
        )
    return found
