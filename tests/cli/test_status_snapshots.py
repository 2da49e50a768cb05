"""``rekindle status`` on how the next runners come to be."""

from __future__ import annotations

import io

from rich.console import Console

from rekindle.cli import status
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.class_parameters import pack
from rekindle.wire.spec import params_digest


def shown(report: pb.StatusReply) -> list[list[str]]:
    """The words of the lines of snapshots, without the heading."""
    out = io.StringIO()
    Console(file=out, width=200).print(status._snapshots(report))
    return [line.split() for line in out.getvalue().splitlines() if "app." in line]


def test_why_a_function_has_no_copies_or_how_far_its_snapshot_is_stands_beside_it() -> None:
    stats = pb.NodeStats()
    progress = pb.SnapshotProgress(step="pages", written_bytes=3 << 20, elapsed_s=1.5)
    stats.snapshots.add(app="app", function="a", fork_unsafe=["a thread", "a device"], reason="b")
    stats.snapshots.add(app="app", function="b", reason="no space left")
    stats.snapshots.add(app="app", function="c", progress=progress)
    for one in stats.snapshots:
        one.state = "cold"
    found = shown(pb.StatusReply(agents=[pb.AgentStatus(host="node", stats=stats)]))
    assert [" ".join(line[4:]) for line in found] == [
        "a thread; a device",
        "no space left",
        "pages, 3 MiB in 1.5 s",
    ]


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
    assert shown(report) == [
        ["app.Model", "-", "-", "ready"],
        ["app.Model(size=1)", "-", "-", "ready"],
        ["app.Model(size=9)", "live", "3", "ready"],
        [f"app.Model({params_digest(gone)[:8]})", "-", "-", "ready"],
    ]
