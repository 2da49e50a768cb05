"""The figures as a table, for a terminal or a document, and the targets that they are held to."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from peers.plan import NAMES
from peers.versus import OURS, Row, Target, Versus, ratio, shown, worst
from rekindle.bench import machine as machines

NOTE = (
    "Medians over all rounds, where two times stand p50 / p99; each system in the quickest of the "
    "forms that were tried, named in its cell; the last column is how many times better rekindle "
    "is than Ray. Rates count inputs that are each a task of their own: batches, in which one task "
    "does many inputs that are neither tracked nor retried by themselves, have a row of their own. "
    "A fresh process is isolated (namespaces) with rekindle alone; with the others it is a new "
    "process and no more. Memory counts all processes that hold PyTorch, those that workers were "
    "forked from too; the row below it counts all that the system runs, its client not. Receivers "
    "look at a payload's first and last byte. The 64 slots have done all of it once before."
)


#: The row of a large array as an argument.
LARGE_ARRAY = "sent_array_100"


def targets(versus: Versus) -> list[Target]:
    """What is promised in SPECIFICATION.md, in the order of its numbers."""
    actor = versus.form("warm", "ray", "actor")
    warm = versus.row("warm")
    ours = versus.best_value("warm", OURS)
    calls = versus.value(warm, actor) / ours if actor.samples else float("nan")
    fan_out = versus.advantage("fan_out", "ray")
    memory = worst([versus.advantage(key, "ray") for key in ("memory", "memory_all")])
    # A pipeline that was compiled has a row of its own, which rekindle needs none for.
    compiled = versus.best_value("warm_compiled", "ray") / ours
    slots = versus.advantage("slots", "pool")
    array = versus.advantage(LARGE_ARRAY, "ray")
    return [
        Target(
            "S11", f"a warm call takes at most half of Ray's actor call: {_part(calls)}", 2, calls
        ),
        Target("S12", f"a fan-out is at least 3 times Ray's best: {ratio(fan_out)}", 3, fan_out),
        Target(
            "S13", f"idle workers hold at most a third of Ray's memory: {_part(memory)}", 3, memory
        ),
        Target(
            "S21",
            f"a warm call takes no longer than one of Ray's compiled graph: {_part(compiled)}",
            1,
            compiled,
        ),
        Target(
            "S22",
            f"64 slots do inputs of 10 ms at least as fast as ProcessPoolExecutor: {ratio(slots)}",
            1,
            slots,
        ),
        Target(
            "S23",
            f"an array of 100 MB as an argument takes no longer than with Ray: {_part(array)}",
            1,
            array,
        ),
    ]


def _part(better: float) -> str:
    return ratio(1 / better)


def render(versus: Versus) -> RenderableType:
    """For a terminal."""
    table = Table(title="rekindle and its peers", title_justify="left", header_style="bold")
    for number, name in enumerate(_header(versus)):
        table.add_column(name, justify="right" if number == len(versus.systems()) + 1 else "left")
    for row in versus.rows:
        table.add_row(*_cells(versus, row, line="\n"), end_section=True)
    parts: list[RenderableType] = [table, Text(NOTE, style="dim"), Text()]
    parts.append(Text(machines.line(versus.machine), style="dim"))
    parts += [Text(f"error: {error}", style="red") for error in _errors(versus)]
    return Group(*parts)


def markdown(versus: Versus) -> str:
    """For a document: the table, and all forms that were tried."""
    header = _header(versus)
    lines = ["| " + " | ".join(header) + " |", "|---" * (len(header) - 1) + "|--:|"]
    lines += ["| " + " | ".join(_cells(versus, row, line="<br>")) + " |" for row in versus.rows]
    lines += ["", NOTE, "", f"{machines.line(versus.machine)}.", ""]
    for target in targets(versus):
        lines.append(f"- {target.number} {target.text}: {'kept' if target.kept else 'not kept'}")
    lines += ["", "All forms that were tried:", "", "| row | system | form | figure | samples |"]
    lines.append("|---|---|---|--:|--:|")
    for row in versus.rows:
        for system in versus.systems():
            for form in versus.forms.get(row.key, {}).get(system, ()):
                figure = shown(row, versus, form) if form.samples else "; ".join(form.errors)
                lines.append(
                    f"| {row.title} | {NAMES[system]} | {form.form} | {figure} "
                    f"| {len(form.samples)} |"
                )
    return "\n".join(lines) + "\n"


def _header(versus: Versus) -> list[str]:
    return ["", *(versus.versions[name] for name in versus.systems()), "against Ray"]


def _cells(versus: Versus, row: Row, line: str) -> list[str]:
    cells = [row.title]
    for system in versus.systems():
        best = versus.best(row.key, system)
        if best is None:
            tried = versus.forms.get(row.key, {}).get(system, ())
            failed = next((error for form in tried for error in form.errors), "not measured")
            cells.append(versus.missing.get(row.key, {}).get(system, failed))
        else:
            cells.append(f"{shown(row, versus, best)}{line}{best.form}")
    cells.append("" if row.aside else ratio(versus.advantage(row.key, "ray")))
    return cells


def _errors(versus: Versus) -> list[str]:
    return [
        f"{row.title}, {form.form}: {error}"
        for row in versus.rows
        for forms in versus.forms.get(row.key, {}).values()
        for form in forms
        for error in form.errors
    ]
