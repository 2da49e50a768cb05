"""What ``rekindle schedule ls`` shows of a run."""

from __future__ import annotations

from rekindle.cli.schedule import _result
from rekindle.wire import rekindle_pb2 as pb


def test_an_error_is_short_in_the_table() -> None:
    long = "ValueError: " + "a word " * 60
    shown = _result(pb.ScheduledRun(state="failed", error=long))
    assert shown.startswith("failed: ValueError: a word") and shown.endswith(" ...")
    assert len(shown) < 100
    assert _result(pb.ScheduledRun(state="failed", error="one\ntwo")) == "failed: one ..."
    assert _result(pb.ScheduledRun(state="failed", error="short")) == "failed: short"
