"""What docs/operating.md says of metrics is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from rekindle.controller.metrics import starts
from rekindle.controller.metrics.metrics import Metrics
from rekindle.controller.metrics.view import view
from rekindle.controller.settings import Settings
from rekindle.controller.state import State
from rekindle.wire import rekindle_pb2 as pb

OPERATING = Path(__file__).parents[3] / "docs" / "operating.md"


def test_every_metric_is_documented_with_its_labels_and_no_other_is() -> None:
    text = OPERATING.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`rekindle_\w+`(?:, `\w+`)*) \|([^|]*)\|", text, re.M)
    documented = {
        name: tuple(part.strip() for part in labels.split(",") if part.strip())
        for names, labels in rows
        for name in re.findall(r"`(rekindle_\w+)`", names)
    }
    state = State("instance")
    metrics = Metrics(state, Settings())
    status = pb.StatusReply(uptime_s=1.0, redis=pb.RedisStatus(up=True, used_memory=1))
    tables = view(metrics, state, status)
    there = {table.name: table.labels for table in tables.by_name.values()}
    build = documented.pop("rekindle_build_info")
    assert build == ("version", "protocol", "python")
    assert documented.pop("rekindle_uptime_seconds") == build  # they share a row
    del there["rekindle_uptime_seconds"]
    assert documented == there


def test_the_classes_of_reasons_are_documented() -> None:
    text = OPERATING.read_text(encoding="utf-8")
    for name in (*starts.CLASSES, starts.OTHER):
        assert re.search(rf"Reasons:[^|]*\b{name}\b", text), name
