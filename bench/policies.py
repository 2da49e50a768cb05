"""The sizing policies over a generated trace with the published statistics of Azure Functions.

.venv/bin/python bench/policies.py [--quick] [--json FILE] [--check] [--results DIR]

The parameters of the trace, each with its source, are in bench/lab/workload.py; what a
start from each level costs is what rekindle measured (rekindle/bench/tune/costs.py).
"""

from __future__ import annotations

import heapq
import statistics
import time
from dataclasses import asdict, dataclass

from lab import markdown, script, spares
from lab.workload import Workload, generate, without_snapshots
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.bench.tune import plot
from rekindle.bench.tune.pools import Node
from rekindle.bench.tune.search import Tried, pareto, try_all
from rekindle.bench.tune.settings import KEEP_S, Setting, snapshot_aware
from rekindle.bench.tune.table import LEGEND, as_json, table
from rekindle.bench.tune.table import rows as as_rows
from rekindle.bench.tune.trace import Trace
from rekindle.controller.policies.policy import GIB, Prices

#: Promised in SPECIFICATION.md: the cost of a simulated arrival, in bare events.
BARE_EVENTS = 25
#: The front is of cost against this percentile of the start latency, over all calls.
PERCENTILE = 99
#: So much memory that keeping everything does not fit: eviction decides.
SHORT_OF_MEMORY_GIB = 12.0

#: What an hour of callers waiting is worth, from hardly anything to much.
WAITING = (0.05, 0.2, 1.0, 4.0)
TARGETS_MS = (1000.0, 100.0)


def settings() -> list[Setting]:
    """Every policy; those with a knob at several places of it."""
    prices = Prices()
    found = [Setting("fixed", {"keep_s": keep_s}) for keep_s in KEEP_S]
    found += [Setting(name) for name in ("histogram", "greedy-dual", "concurrency")]
    for target_ms in TARGETS_MS:
        found += [snapshot_aware(target_ms, 0.95, prices, waiting) for waiting in WAITING]
    found.append(snapshot_aware(1.0, 0.99, prices, prices.waiting_hour))
    return found


def short_settings() -> list[Setting]:
    """Fewer, for the node that is short of memory."""
    return [
        Setting("fixed", {"keep_s": 600.0}),
        Setting("histogram"),
        Setting("greedy-dual"),
        Setting("concurrency"),
        snapshot_aware(1000.0, 0.95, Prices(), 1.0),
        snapshot_aware(100.0, 0.95, Prices(), 1.0),
    ]


@dataclass(slots=True)
class _Counts:
    """What a loop over arrivals keeps at least."""

    in_flight: int = 0
    ended: int = 0
    changed: float = 0.0


def bare_event_s(trace: Trace) -> float:
    """CPU time of an arrival that is only counted: its end goes through a heap, and nothing else.

    What any simulator of these arrivals in this interpreter takes at least, on this machine now.
    """
    heap: list[tuple[float, int, _Counts]] = []
    push, pop = heapq.heappush, heapq.heappop
    counts = [_Counts() for _ in trace.functions]
    order = 0
    began = time.process_time()
    for times, which, services in trace.chunks():
        for now, index, service in zip(times, which, services, strict=True):
            while heap and heap[0][0] <= now:
                when, _, ended = pop(heap)
                ended.in_flight -= 1
                ended.ended += 1
                ended.changed = when
            of = counts[index]
            of.in_flight += 1
            of.changed = now
            order += 1
            push(heap, (now + service, order, of))
    return (time.process_time() - began) / order


def main() -> int:
    """Replay and show; 1 for a promise not kept."""
    options = script.options("policies", __doc__.splitlines()[0])
    console = script.console()
    workload = Workload(duration_s=2 * 3600.0) if options.quick else Workload()
    trace = generate(workload)
    prices = Prices()
    machine = machines.describe()

    with console.status("") as status:

        def progress(label: str) -> None:
            status.update(f"replaying {len(trace):,} arrivals: {label}")

        bare = [bare_event_s(trace)]
        tried = try_all(trace, settings(), prices, Node(), progress)
        bare.append(bare_event_s(trace))
        plain = [Setting("fixed", {"keep_s": 600.0}), Setting("histogram")]
        cold = try_all(without_snapshots(trace), plain, prices, Node(), progress)
        node = Node(memory_bytes=SHORT_OF_MEMORY_GIB * GIB)
        short = try_all(trace, short_settings(), prices, node, progress)
        bare.append(bare_event_s(trace))

    covered = spares.sheet()
    front = pareto(tried, PERCENTILE)
    title = (
        f"{workload.functions} functions, {workload.duration_s / 3600:g} h, {len(trace):,} arrivals"
    )
    sheets: list[tuple[str, list[Tried], list[Tried]]] = [
        (f"{title}: memory is not short", tried, front),
        ("the same without snapshots: warm and cold alone", cold, []),
        (f"the same on a node with {SHORT_OF_MEMORY_GIB:g} GiB", short, pareto(short, PERCENTILE)),
    ]
    for name, rows, its_front in sheets:
        console.print(table(rows, its_front, title=name, even=True))
    console.print(covered.rich())
    speeds = {one.label: one.outcome.calls / one.took_s for one in tried}
    slowest = min(speeds, key=speeds.__getitem__)
    mean = sum(one.outcome.calls for one in tried) / sum(one.took_s for one in tried)
    event_s = statistics.median(bare)
    ratio = 1 / mean / event_s
    speed = (
        f"simulated {mean:,.0f} arrivals a second (of CPU time, one core) on average, "
        f"{speeds[slowest]:,.0f} with {slowest}, the slowest; a bare event takes "
        f"{1e6 * event_s:.2f} µs, a simulated arrival {ratio:.1f} times that"
    )
    console.print(f"[dim]{LEGEND}; even: every function counts alike, however often called[/]")
    console.print(f"{speed}\n[dim]{machines.line(machine)}[/]", highlight=False)

    plot.save(
        tried,
        front,
        options.file("policies.png"),
        title=f"Sizing policies on a day of Azure-like load ({title})",
        percentile=PERCENTILE,
        note=f"prices: {prices.gib_hour:g} a GiB-hour, {prices.cpu_hour:g} a CPU-hour (of starts)",
    )
    with options.file("policies.md").open("w", encoding="utf-8") as file:
        for name, rows, its_front in sheets:
            sheet = "\n".join(markdown.table(as_rows(rows, its_front, even=True)))
            file.write(f"**{name}**\n\n{sheet}\n\n")
        file.write(f"{covered.markdown()}\n")
        file.write(f"{LEGEND[0].upper()}{LEGEND[1:]}; even: every function counts alike.\n\n")
        file.write(f"{speed[0].upper()}{speed[1:]}. {machines.line(machine)}\n")
    whole = {
        "machine": machine,
        "workload": asdict(workload),
        "arrivals": len(trace),
        "prices": asdict(prices),
        "percentile": PERCENTILE,
        "settings": as_json(tried, front),
        "without_snapshots": as_json(cold, []),
        "starts_that_find_a_spare": [covered.header, *covered.rows],
        "short_of_memory_gib": SHORT_OF_MEMORY_GIB,
        "short_of_memory": as_json(short, sheets[2][2]),
        "arrivals_per_cpu_s": {"mean": round(mean), "slowest": round(speeds[slowest])},
        "bare_event_us": [round(1e6 * one, 3) for one in bare],
        "bare_events_per_arrival": round(ratio, 2),
    }
    write_json(options.json, whole)
    console.print(f"[dim]figures: {options.json} and {options.results}/policies.{{md,png}}[/]\n")

    ours = [one for one in front if one.setting.policy == "snapshot-aware"]
    promises = [
        script.Promise(
            "P1",
            f"snapshot-aware is on the Pareto front of cost and p{PERCENTILE} of the start latency "
            f"({len(ours)} of {len(front)} settings there)",
            bool(ours),
        ),
        script.Promise(
            "P2",
            "a simulated arrival, with the code of the policies, takes at most the CPU time of "
            f"{BARE_EVENTS} bare events of a heap ({ratio:.1f})",
            ratio <= BARE_EVENTS,
        ),
    ]
    return script.verdict(console, promises, check=options.check)


if __name__ == "__main__":
    script.run(main)
