"""How Dicts and Queues stand in ``rekindle status`` and ``rekindle top``."""

from __future__ import annotations

from typing import Any

from rekindle.cli.shared_objects import lines, operations
from rekindle.cli.top_frame import frame
from rekindle.cli.top_model import Sort
from rekindle.wire import rekindle_pb2 as pb


def objects(**more: Any) -> pb.ObjectsStatus:
    """Two Dicts and a Queue."""
    of = [
        {"object_id": "di-1", "kind": "dict", "name": "scores", "count": 1200, "size_bytes": 4096},
        {"object_id": "di-2", "kind": "dict", "count": 3, "operations": {"put": 3, "get": 1}},
        {"object_id": "qu-1", "kind": "queue", "name": "jobs", "count": 7, "waiting": 2},
    ]
    return pb.ObjectsStatus(objects=[pb.ObjectStatus(**one) for one in of], **more)


def test_the_sums_are_said_and_why_programs_do_not_use_redis() -> None:
    assert lines(pb.ObjectsStatus()) == []
    assert lines(objects()) == ["2 Dicts: 1,203 entries, 4 KiB", "1 Queue: 7 items, 0 B"]
    said = "\n".join(lines(objects(through_controller="it is turned off", more=3)))
    assert "through the controller, not straight to Redis: it is turned off" in said
    assert "3 more" in said
    barred = lines(objects(barred=2, barred_reason="FileNotFoundError: no"))[-1]
    assert "2 times" in barred and "FileNotFoundError" in barred
    assert operations(objects().objects[1]) == "get 1, put 3"
    assert operations(objects().objects[0]) == "-"


def test_top_shows_the_busiest_first_with_what_was_done_since_the_last_frame() -> None:
    before = pb.StatusReply(uptime_s=10, objects=objects())
    after = pb.StatusReply(uptime_s=12, objects=objects())
    after.objects.objects[1].operations["put"] = 203
    shown = frame(after, 120, None, Sort.CALLS, before=before).plain.splitlines()
    at = next(i for i, line in enumerate(shown) if line.startswith("objects"))
    assert "2 dicts, 1,203 in them, 4 KiB" in shown[at] and "1 queue," in shown[at]
    assert shown[at + 1].startswith("  dict di-2  3") and "put 100/s" in shown[at + 1]
    assert shown[at + 2].startswith("  dict scores  1,200  4 KiB")
    assert shown[at + 3].startswith("  queue jobs  7") and "2 wait" in shown[at + 3]
    first = frame(after, 120, None, Sort.CALLS).plain
    assert "/s" not in first.partition("FUNCTION")[0]
    nothing = frame(pb.StatusReply(), 120, None, Sort.CALLS).plain
    assert not any(line.startswith("objects") for line in nothing.splitlines())
