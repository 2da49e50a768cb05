"""One frame of ``rekindle top``: what fits into a terminal of some width and height.

Lines are cut, never folded, so that a frame has as many lines as it is meant to have.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.text import Text

from rekindle.cli import top_model as model
from rekindle.cli.tables import age, duration, millis, size
from rekindle.cli.top_model import Sort
from rekindle.wire import rekindle_pb2 as pb

_STRATEGIES = {"warm": "green", "fork": "cyan", "restore": "blue", "cold": "red"}
_STATES = {"busy": "bold", "lent": "bold", "starting": "yellow", "idle": "dim"}
#: Segments of a start's bar, and of its legend, in turn; told apart without colours too.
_FILLS = (("█", "blue"), ("▓", "cyan"), ("▒", "magenta"), ("░", "yellow"))
_TITLE = "bold"
#: From this width on runners and starts stand side by side.
_WIDE = 150
#: Below it, columns are left out and words are letters.
_ROOMY = 100
_STATES_WIDTH = 11
#: Starts that are shown where nothing limits the height.
_STARTS = 10


def frame(
    report: pb.StatusReply, width: int, height: int | None, sort: Sort, *, reverse: bool = False
) -> Text:
    """The frame; ``height`` None shows all functions and runners."""
    lines = [*_head(report), *_nodes(report)]
    functions = model.functions(report, sort, reverse=reverse)
    runners, starts = model.runners(report), model.starts(report)
    wide = width >= _WIDE
    # Each part has a blank line, its title, and a line that says how much is not shown.
    left = None if height is None else height - len(lines) - (8 if wide else 9)
    wanted = (len(functions), len(runners), len(starts))
    rows = _share(wanted, left, wide)
    lines += [Text(), *_functions(functions, rows[0], width, sort)]
    if wide:
        half = (width - 3) // 2
        sides = _runners(runners, rows[1], half), _starts(starts, rows[2], width - half - 3)
        lines += [Text(), *_beside(*sides, half)]
    else:
        lines += [Text(), *_runners(runners, rows[1], width)]
        lines += [Text(), *_starts(starts, rows[2], width)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines if height is None else lines[:height])


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


def _head(report: pb.StatusReply) -> list[Text]:
    line = Text(f"rekindle {report.version}", _TITLE)
    line.append(f"  up {duration(report.uptime_s)}", "")
    line.append(f"  {len(report.apps)} apps")
    if report.redis.up or not report.HasField("redis"):
        line.append(f"  redis {size(report.redis.used_memory)}")
    else:
        line.append("  redis is away", "bold red")
    lag = report.loop_lag_ms
    line.append(f"  lag {millis(lag)}", "red" if lag > 100 else "")
    line.append(time.strftime("  %H:%M:%S"), "dim")
    return [line]


def _nodes(report: pb.StatusReply) -> list[Text]:
    lines = []
    for node in model.nodes(report):
        line = Text(f"{node.host}  ", _TITLE if node.connected else "dim")
        if not node.connected:
            line.append("away", "bold red")
            lines.append(line)
            continue
        line.append(f"runners {node.runners} of {node.max_runners}", "not bold")
        line.append(f"  free {size(node.available)} of {size(node.total)}", "not bold")
        for name, count in (("pss", node.pss), ("mapped", node.mapped), ("rss", node.rss)):
            line.append(f"  {name} {size(count)}", "not bold")
        if node.store:
            line.append(f"  snapshots {size(node.store)}", "not bold")
        lines.append(line)
    return lines or [Text("no agent is connected", "bold red")]


# ---- the three parts -----------------------------------------------------------------------


def _functions(rows: Sequence[model.FunctionRow], shown: int, width: int, sort: Sort) -> list[Text]:
    narrow = width < _ROOMY
    mix = 12 if narrow else 34
    widths = {"calls/s": 8, "p50": 7, "p95": 7, "start": 7, "queued": 7, "oldest": 7}
    if narrow:
        del widths["oldest"]
    name = max(12, width - sum(widths.values()) - _STATES_WIDTH - 2 - mix)
    line = _cell("FUNCTION", name, mark=sort is Sort.NAME)
    for title, columns in widths.items():
        line += _right(title, columns, mark=sort.value == title)
    line += _right("bsy/idl/st", _STATES_WIDTH, mark=sort is Sort.RUNNERS) + Text("  starts")
    line.stylize(_TITLE)
    lines = [line]
    for row in rows[:shown]:
        waiting = row.queued + row.delayed
        cells = {
            "calls/s": f"{row.calls_per_s:.1f}" if row.calls_per_s else "-",
            "p50": millis(row.p50),
            "p95": millis(row.p95),
            "start": millis(row.start_p50),
            "queued": str(waiting),
            "oldest": age(row.oldest_s) if row.oldest_s else "-",
        }
        made = _cell(row.name, name)
        for title, columns in widths.items():
            made += _right(cells[title], columns, "yellow" if title == "queued" and waiting else "")
        made += _right(f"{row.busy}/{row.idle}/{row.starting}", _STATES_WIDTH)
        made += Text("  ") + _mix(row.starts, row.dead, narrow)
        if not (row.calls_per_s or waiting or row.in_flight):
            made.stylize("dim")
        lines.append(made)
    return [*lines, *_rest("functions", len(rows), shown)]


def _mix(starts: dict[str, int], dead: int, narrow: bool) -> Text:
    made = Text()
    if dead:
        made.append(f"{dead} dead ", "bold red")
    for strategy, colour in _STRATEGIES.items():
        if starts.get(strategy):
            name = strategy[0] if narrow else f"{strategy} "
            made.append(f"{name}{starts[strategy]} ", colour)
    return made


def _runners(rows: Sequence[model.RunnerRow], shown: int, width: int) -> list[Text]:
    fixed = 9 + 9 + 6 + 8 + 8 + 10
    identity = 9 if width < _ROOMY else 26
    name = max(10, width - fixed - identity)
    line = _cell("RUNNER", identity) + _cell("function", name) + _cell("state", 9)
    line += _cell("strategy", 9)
    for title, columns in (("age", 6), ("inputs", 8), ("pid", 8), ("pss", 10)):
        line += _right(title, columns)
    line.stylize(_TITLE)
    lines = [line]
    for row in rows[:shown]:
        made = _cell(row.id, identity) + _cell(row.function, name)
        made += _cell(row.state, 9, _STATES.get(row.state, ""))
        made += _cell(row.strategy, 9, _STRATEGIES.get(row.strategy, ""))
        made += _right(age(row.age_s), 6)
        made += _right(str(row.inputs), 8) + _right(str(row.pid), 8)
        made += _right(size(row.pss_bytes) if row.pss_bytes else "-", 10)
        lines.append(made)
    return [*lines, *_rest("runners", len(rows), shown)]


def _starts(rows: Sequence[model.StartRow], shown: int, width: int) -> list[Text]:
    bar = 12 if width < _ROOMY else 20
    name = min(32, max(12, width // 5))
    line = _right("AGO", 5) + Text(" ") + _cell("start of", name) + _cell("strategy", 9)
    line += _right("took", 7) + Text("  ") + Text("phases, in ms")
    line.stylize(_TITLE)
    lines = [line]
    for row in rows[:shown]:
        made = _right(age(row.ago_s), 5) + Text(" ") + _cell(row.function, name)
        made += _cell(row.strategy, 9, _STRATEGIES.get(row.strategy, ""))
        made += _right(millis(row.ms), 7) + Text("  ")
        if row.ok:
            made += phases_bar(row.phases, bar)
        else:
            made.append(f"failed: {row.reason.splitlines()[0] if row.reason else '?'}", "red")
        lines.append(made)
    return [*lines, *_rest("starts", len(rows), shown, "older ")]


def phases_bar(phases: dict[str, float], width: int) -> Text:
    """A bar whose parts are as long as their phases, and what they are, in the same order."""
    told = [(name, ms) for name, ms in phases.items() if ms > 0]
    total = sum(ms for _, ms in told) or 1.0
    bar, legend = Text(), Text(" ")
    done, turn = 0.0, 0
    for name, ms in told:
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
    small = [(name, ms) for name, ms in told if f"{name} {_ms(ms)} " not in legend.plain]
    if small:
        legend.append("  ".join(f"{name} {_ms(ms)}" for name, ms in small), "dim")
    return bar + legend


def _ms(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}"


# ---- cells ---------------------------------------------------------------------------------


def _rest(what: str, count: int, shown: int, kind: str = "more ") -> list[Text]:
    if not count:
        return [Text(f"no {what}", "dim")]
    return [Text(f"{count - shown} {kind}{what}", "dim")] if count > shown else []


def _beside(left: list[Text], right: list[Text], width: int) -> list[Text]:
    made = []
    for i in range(max(len(left), len(right))):
        one = left[i] if i < len(left) else Text()
        one.truncate(width, overflow="ellipsis", pad=True)
        made.append(one + Text(" │ ", "dim") + (right[i] if i < len(right) else Text()))
    return made


def _cell(text: str, width: int, style: str = "", *, mark: bool = False) -> Text:
    made = Text(text + ("▾" if mark else ""), style)
    made.truncate(max(0, width - 1), overflow="ellipsis", pad=True)
    return made + Text(" ")


def _right(text: str, width: int, style: str = "", *, mark: bool = False) -> Text:
    text += "▾" if mark else ""
    return Text(" " * max(1, width - len(text))) + Text(text, style)
