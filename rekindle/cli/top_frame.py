"""One frame of ``rekindle top``: what fits into a terminal of some width and height.

Lines are cut, never folded, so that a frame has as many lines as it is meant to have.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rekindle.cli import top_model as model
from rekindle.cli.tables import Literal, age, duration, millis, size
from rekindle.cli.top_model import Sort
from rekindle.counted import counted
from rekindle.wire import rekindle_pb2 as pb

#: Their first letters differ, too.
_STRATEGIES = {
    "warm": "green",
    "spare": "bright_cyan",
    "fork": "cyan",
    "restore": "blue",
    "cold": "red",
}
_STATES = {"busy": "bold", "lent": "bold", "starting": "yellow", "idle": "dim"}
#: Segments of a start's bar, and of its legend, in turn; distinct without colours too.
_FILLS = (("█", "blue"), ("▓", "cyan"), ("▒", "magenta"), ("░", "yellow"))
_TITLE = "bold"
#: From this width on runners and starts stand side by side.
_WIDE = 150
#: Below it, columns are left out and words are letters.
_ROOMY = 100
#: Below it, lines are cut.
_LEAST = 80
#: Dicts and Queues that have a line.
_OBJECTS = 3
#: Starts that are shown where nothing limits the height.
_STARTS = 10


def frame(
    report: pb.StatusReply,
    width: int,
    height: int | None,
    sort: Sort,
    *,
    reverse: bool = False,
    before: pb.StatusReply | None = None,
) -> Text:
    """The frame; ``height`` None shows all functions and runners. ``before``: the last report."""
    head = [_head(report), *_nodes(report), *_objects(report, before)]
    functions = model.functions(report, sort, reverse=reverse)
    runners, starts = model.runners(report), list(reversed(report.recent_starts))
    wide = width >= _WIDE
    half = (width - 3) // 2 if wide else width
    # Each part has a blank line, its title, and a line that says how much is not shown.
    left = None if height is None else height - len(head) - (8 if wide else 9)
    rows = _share((len(functions), len(runners), len(starts)), left, wide)
    parts: list[RenderableType] = [
        _functions(functions, rows[0], sort, narrow=width < _ROOMY),
        _runners(runners, rows[1], narrow=half < _ROOMY),
        _starts(starts, rows[2], narrow=half < _ROOMY),
    ]
    if wide:
        sides = Table(box=box.MINIMAL, show_header=False, show_edge=False, border_style="dim")
        sides.add_column(width=half - 1)
        sides.add_row(*parts[1:])
        parts[1:] = [sides]
    shown = Group(*head, *(one for part in parts for one in ("", part)))
    lines = _rendered(shown, max(width, _LEAST))
    for line in lines:
        line.rstrip()
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines[:height])


def _rendered(shown: RenderableType, width: int) -> list[Text]:
    console = Literal(width=width)
    options = console.options.update(no_wrap=True, overflow="ellipsis")
    return [
        Text.assemble(*((segment.text, segment.style or "") for segment in line))
        for line in console.render_lines(shown, options, pad=False)
    ]


def _share(wanted: tuple[int, int, int], left: int | None, wide: bool) -> tuple[int, int, int]:
    """Rows for functions, runners and starts: each has a part, and what another does not need."""
    functions, runners, starts = wanted
    if left is None:
        return functions, runners, min(starts, _STARTS)
    left = max(0, left)
    if wide:
        below = min(max(runners, starts), max(left // 2, left - functions))
        return min(functions, left - below), min(runners, below), min(starts, below)
    given = [0, 0, 0]
    while left > 0 and any(have < want for have, want in zip(given, wanted, strict=True)):
        for i in range(3):
            if given[i] < wanted[i] and left > 0:
                given[i] += 1
                left -= 1
    return given[0], given[1], given[2]


# ---- the top -------------------------------------------------------------------------------


def _head(report: pb.StatusReply) -> Text:
    line = Text(f"rekindle {report.version}", _TITLE)
    line.append(f"  up {duration(report.uptime_s)}", "")
    line.append(f"  {counted(len(report.apps), 'app')}")
    if report.redis.up or not report.HasField("redis"):
        told = report.redis.HasField("used_memory")
        line.append(f"  redis {size(report.redis.used_memory) if told else '?'}")
    else:
        line.append("  redis is away", "bold red")
    lag = report.loop_lag_ms
    line.append(f"  lag {millis(lag)}", "red" if lag > 100 else "")
    line.append(time.strftime("  %H:%M:%S"), "dim")
    return line


def _nodes(report: pb.StatusReply) -> list[Text]:
    lines = []
    for node in report.agents:
        line = Text(f"{node.host}  ", _TITLE if node.connected else "dim")
        lines.append(line)
        if not node.connected:
            line.append("away", "bold red")
            continue
        stats, memory = node.stats, node.stats.memory
        free, total = size(stats.memory_available_bytes), size(stats.memory_total_bytes)
        said = f"runners {len(stats.runners)} of {node.max_runners}  free {free} of {total}"
        said += f"  pss {size(memory.pss_bytes)}  mapped {size(memory.mapped_bytes)}"
        said += f"  rss {size(memory.rss_bytes)}"
        if memory.snapshot_store_bytes:
            said += f"  snapshots {size(memory.snapshot_store_bytes)}"
        line.append(said, "not bold")
        if stats.gpus.devices:
            lines.append(Text(f"{' ' * len(node.host)}  {_gpus(stats.gpus)}"))
    return lines or [Text("no agent is connected", "bold red")]


def _gpus(gpus: pb.NodeGpus) -> str:
    """How many are held, what is used of their memory, what else they are used for."""
    devices = gpus.devices
    held = sum(1 for one in devices if one.runners)
    used, there = sum(one.used_bytes for one in devices), sum(one.memory_bytes for one in devices)
    said = f"gpus {held} of {len(devices)}, {size(used)} of {size(there)}"
    if weights := sum(one.holder.held_bytes for one in devices):
        said += f", weights {size(weights)}"
    if lent := sum(1 for one in devices if one.loans):
        said += f", {lent} lent"
    if gpus.waiting:
        said += f", {gpus.waiting} wait"
    return said


def _objects(report: pb.StatusReply, before: pb.StatusReply | None) -> list[Text]:
    """How many Dicts and Queues there are, and the busiest of them."""
    rows = model.objects(report, before)
    if not rows:
        return []
    line = Text("objects  ", _TITLE)
    for kind in ("dict", "queue"):
        of = [row.one for row in rows if row.one.kind == kind]
        if of:
            count, used = sum(one.count for one in of), sum(one.size_bytes for one in of)
            line.append(f"{counted(len(of), kind)}, {count:,} in them, {size(used)}  ", "not bold")
    if report.objects.through_controller or report.objects.barred:
        line.append("through the controller", "yellow")
    lines = [line]
    for row in rows[:_OBJECTS]:
        one = row.one
        line = Text(f"  {one.kind} {one.name or one.object_id}  {one.count:,}", "dim")
        line.append(f"  {size(one.size_bytes)}")
        if one.waiting:
            line.append(f"  {one.waiting:,} wait", "yellow")
        line.append("".join(f"  {name} {rate:,.0f}/s" for name, rate in row.rates.items() if rate))
        lines.append(line)
    return lines


# ---- the three parts -----------------------------------------------------------------------


def _functions(
    rows: Sequence[model.FunctionRow], shown: int, sort: Sort, *, narrow: bool
) -> RenderableType:
    titles = [">calls/s", ">p50", ">p95", ">start", ">queued", ">oldest", ">bsy/idl/st/sp"]
    if narrow:
        titles.remove(">oldest")
    marked = {Sort.NAME: "*FUNCTION", Sort.RUNNERS: titles[-1]}.get(sort, f">{sort.value}")
    titles = ["*FUNCTION", *titles]
    made = _table(*(title + ("▾" if title == marked else "") for title in titles), "starts")
    for row in rows[:shown]:
        waiting = row.queued + row.delayed
        cells: list[str | Text] = [
            row.name,
            f"{row.calls_per_s:.1f}" if row.calls_per_s else "-",
            *(millis(ms) for ms in (row.p50, row.p95, row.start_p50)),
            Text(str(waiting), "yellow" if waiting else ""),
            f"{row.busy}/{row.idle}/{row.starting}/{row.spares}",
            _mix(row.starts, row.dead, narrow),
        ]
        if not narrow:
            cells.insert(6, age(row.oldest_s) if row.oldest_s else "-")
        made.add_row(*cells, style="" if row.calls_per_s or waiting or row.in_flight else "dim")
    return Group(made, *_rest("function", len(rows), shown))


def _mix(starts: Mapping[str, int], dead: int, narrow: bool) -> Text:
    made = Text()
    if dead:
        made.append(f"{dead} dead ", "bold red")
    for strategy, colour in _STRATEGIES.items():
        if starts.get(strategy):
            name = strategy[0] if narrow else f"{strategy} "
            made.append(f"{name}{starts[strategy]} ", colour)
    return made


def _runners(
    rows: Sequence[tuple[str, pb.RunnerStats]], shown: int, *, narrow: bool
) -> RenderableType:
    titles = ["RUNNER", "*function", "state", "strategy", ">age", ">inputs", ">pid", ">pss"]
    with_gpus = any(row.HasField("gpus") for _, row in rows)
    made = _table(*titles, *([">gpu"] if with_gpus else []))
    for function, row in rows[:shown]:
        made.add_row(
            f"{row.id[:7]}…" if narrow else row.id,
            function,
            Text(row.state, _STATES.get(row.state, "")),
            Text(row.strategy, _STRATEGIES.get(row.strategy, "")),
            age(row.age_s),
            str(row.inputs),
            str(row.pid),
            size(row.pss_bytes) if row.pss_bytes else "-",
            *([_gpu(row.gpus)] if with_gpus else []),
        )
    return Group(made, *_rest("runner", len(rows), shown))


def _gpu(one: pb.RunnerGpus) -> str:
    """How many GPUs a runner has, what it uses of their memory, how busy it keeps them."""
    if not one.uuids:
        return "-"
    busy = f" {one.busy_percent}%" if one.HasField("busy_percent") else ""
    return f"{one.gpus:.2g}: {size(one.used_bytes)}{busy}"


def _starts(rows: Sequence[pb.StartStatus], shown: int, *, narrow: bool) -> RenderableType:
    made = _table(">AGO", "start of", "strategy", ">took", "*phases, in ms")
    made.columns[1].max_width = 16 if narrow else 32
    for row in rows[:shown]:
        reason = row.reason.partition("\n")[0] or "?"
        made.add_row(
            age(max(0.0, time.time() - row.at)),
            row.function,
            Text(row.strategy, _STRATEGIES.get(row.strategy, "")),
            millis(row.ms),
            phases_bar(dict(row.phases), 12 if narrow else 20)
            if row.ok
            else Text(f"failed: {reason}", "red"),
        )
    return Group(made, *_rest("start", len(rows), shown, "older "))


def phases_bar(phases: dict[str, float], width: int) -> Text:
    """A bar whose parts are as long as their phases, and what they are, in the same order."""
    known = [(name, ms) for name, ms in phases.items() if ms > 0]
    total = sum(ms for _, ms in known) or 1.0
    bar, legend = Text(), Text(" ")
    done, turn = 0.0, 0
    for name, ms in known:
        fill, colour = _FILLS[turn % len(_FILLS)]
        before = round(width * done / total)
        done += ms
        cells = round(width * done / total) - before
        bar.append(fill * cells, colour)
        if cells:
            legend.append(fill, colour)
            legend.append(f"{name} {_ms(ms)} ")
            turn += 1
    bar.append(" " * (width - len(bar)))
    small = [(name, ms) for name, ms in known if f"{name} {_ms(ms)} " not in legend.plain]
    if small:
        legend.append("  ".join(f"{name} {_ms(ms)}" for name, ms in small), "dim")
    return bar + legend


def _ms(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}"


def _table(*titles: str) -> Table:
    """``>``: aligned to the right; ``*``: has what room the others leave. Cells are cut."""
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style=_TITLE, expand=True)
    for title in titles:
        made.add_column(
            title.lstrip(">*"),
            justify="right" if title[0] == ">" else "left",
            ratio=1 if title[0] == "*" else None,
            no_wrap=True,
            overflow="ellipsis",
        )
    return made


def _rest(what: str, count: int, shown: int, kind: str = "more ") -> list[Text]:
    if not count:
        return [Text(f"no {what}s", "dim")]
    return [Text(counted(count - shown, f"{kind}{what}"), "dim")] if count > shown else []
