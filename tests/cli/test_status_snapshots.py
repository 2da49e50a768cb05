"""``rekindle status`` on how the next runners come to be."""

from __future__ import annotations

import io

from rich.console import Console

from rekindle.cli import status
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.class_parameters import pack
from rekindle.wire.spec import params_digest


def test_the_snapshots_of_one_class_are_told_apart_by_its_parameters() -> None:
    small, large, gone = (pack("app.Model", {"size": size}) for size in (1, 9, 5))
    function = pb.FunctionStatus(name="Model", function_id="fu-1")
    for params in (small, large):
        function.pool.pools.add(params=params_digest(params), instance=params.decode())
    stats = pb.NodeStats(
        templates=[pb.TemplateStats(app="app", function="Model", params=params_digest(large))],
        held=[pb.HeldPool(function_id="fu-1", params=params_digest(large), spares=3)],
    )
    for params in (b"", small, large, gone):
        stats.snapshots.add(
            app="app", function="Model", state="ready", params=params_digest(params)
        )
    report = pb.StatusReply(
        apps=[pb.AppStatus(name="app", functions=[function])],
        agents=[pb.AgentStatus(host="node", stats=stats)],
    )
    out = io.StringIO()
    Console(file=out, width=200).print(status._snapshots(report))
    lines = [line.split() for line in out.getvalue().splitlines() if "ready" in line]
    assert lines == [
        ["app.Model", "-", "-", "ready"],
        ["app.Model(size=1)", "-", "-", "ready"],
        ["app.Model(size=9)", "live", "3", "ready"],
        [f"app.Model({params_digest(gone)[:8]})", "-", "-", "ready"],
    ]
