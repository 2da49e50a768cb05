"""How many of what, in words."""

from __future__ import annotations

import pytest

from rekindle.cli.shared_objects import lines
from rekindle.cli.top_frame import frame
from rekindle.cli.top_model import Sort
from rekindle.counted import counted
from rekindle.wire import rekindle_pb2 as pb


@pytest.mark.parametrize(
    ("count", "of", "said"),
    [
        (0, ["app"], "0 apps"),
        (1, ["app"], "1 app"),
        (2000, ["app"], "2,000 apps"),
        (1, ["entry", "entries"], "1 entry"),
        (2, ["entry", "entries"], "2 entries"),
    ],
)
def test_one_is_no_several(count: int, of: list[str], said: str) -> None:
    assert counted(count, *of) == said


def test_top_and_status_say_one_of_what_there_is_one() -> None:
    one = pb.ObjectStatus(object_id="di-1", kind="dict", count=1)
    objects = pb.ObjectsStatus(objects=[one], more=1, barred=1)
    starts = [pb.StartStatus(function="f", strategy="cold", ok=True)] * 2
    report = pb.StatusReply(apps=[pb.AppStatus(name="app")], objects=objects, recent_starts=starts)
    shown = frame(report, 120, 14, Sort.CALLS).plain
    assert "  1 app  " in shown and "1 dict," in shown
    said = " ".join(lines(objects))
    assert "1 Dict: 1 entry," in said and "(1 time;" in said
    assert "1 more Dict or Queue is not counted here." in said
