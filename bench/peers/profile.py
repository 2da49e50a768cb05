"""Where the time of rekindle's own calls goes: processor time by process, and functions by samples.

Processor time is what the kernel counted over the measured interval; functions are py-spy's samples
of each process during the same interval.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab import markdown as tables
from lab.steps import Steps
from peers import environment
from peers.process import Peer, started
from peers.versus import OURS

_RATE, _TOP = 200, 12
#: py-spy ends by itself after the time that is measured.
_SPY_S = 600.0
#: Functions that wait: what is sampled in them takes no time.
_WAITS = ("EpollSelector.select", "Condition.wait", "recv_fds", "acquire", "read_some")


@dataclass
class Part:
    """One kind of process of rekindle."""

    cpu_s: float = 0.0
    #: function -> share of its samples, of the function itself and with what it calls
    own: list[tuple[str, float]] = field(default_factory=list)
    whole: list[tuple[str, float]] = field(default_factory=list)


@dataclass
class Profile:
    """One measurement, taken apart."""

    title: str
    inputs: int
    wall_s: float
    parts: dict[str, Part]


def measure(quick: bool, logs: Path, steps: Steps) -> list[Profile]:
    """The warm call and the fan-out, each twice: once for processor time, once for samples."""
    warm, fan_out = (5000, 10_000) if quick else (50_000, 100_000)
    found = []
    with started(OURS, "calls", logs=logs) as peer:
        for title, name, form, count in (
            ("warm no-op calls, one after another", "warm", "remote", warm),
            ("fan-out of no-ops, .map", "fan_out", "map", fan_out),
        ):
            steps.part(title)
            peer.ask(name, form, count=max(100, count // 10))
            before = _cpu(peer)
            began = time.monotonic()
            peer.ask(name, form, count=count)
            wall_s = time.monotonic() - began
            after = _cpu(peer)
            parts: dict[str, Part] = {}
            for pid, (kind, used) in after.items():
                spent = used - before.get(pid, (kind, 0.0))[1]
                parts.setdefault(kind, Part()).cpu_s += spent
            steps.say("sampling")
            _sample(peer, after, name, form, count, wall_s, parts)
            found.append(Profile(title, count, wall_s, parts))
    return found


def _kind(process: psutil.Process, client: int) -> str:
    if process.pid == client:
        return "client"
    words = " ".join(process.cmdline())
    for name, mark in (
        ("controller", "rekindle.controller --"),
        ("agent", "rekindle.runtime.agent --"),
        ("supervisor", "sdk.local.supervisor"),
        ("spawner", "isolation.spawner"),
        ("redis", "redis-server"),
        ("redis", "valkey-server"),
    ):
        if mark in words:
            return name
    return "runners"


def _cpu(peer: Peer) -> dict[int, tuple[str, float]]:
    found = {}
    for process in (psutil.Process(peer.process.pid), *peer.below()):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[process.pid] = (_kind(process, peer.process.pid), times.user + times.system)
    return found


def _sample(
    peer: Peer,
    processes: dict[int, tuple[str, float]],
    name: str,
    form: str,
    count: int,
    wall_s: float,
    parts: dict[str, Part],
) -> None:
    """Have py-spy look at every process that was busy while it is all done again."""
    spy = environment.python().with_name("py-spy")
    busy = [
        pid for pid, (kind, _) in processes.items() if kind in ("client", "controller", "agent")
    ]
    runners = [pid for pid, (kind, used) in processes.items() if kind == "runners"]
    busy += sorted(runners, key=lambda pid: -processes[pid][1])[:2]
    running = []
    for pid in busy:
        argv = [str(spy), "record", "--pid", str(pid), "--rate", str(_RATE), "--format", "raw"]
        argv += ["--duration", str(max(2, int(wall_s))), "--nonblocking"]
        argv += ["--output", str(peer.scratch / f"{pid}.folded")]
        running.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    peer.ask(name, form, count=count)
    samples: dict[str, Counter[tuple[str, ...]]] = {}
    for pid, process in zip(busy, running, strict=True):
        process.wait(_SPY_S)
        with contextlib.suppress(FileNotFoundError):  # py-spy may not look at it
            for line in (peer.scratch / f"{pid}.folded").read_text().splitlines():
                stack, _, times = line.rpartition(" ")
                if stack.rpartition(";")[2].startswith(_WAITS):
                    continue
                kind = processes[pid][0]
                samples.setdefault(kind, Counter())[tuple(stack.split(";"))] += int(times)
    for kind, stacks in samples.items():
        total = sum(stacks.values()) or 1
        own: Counter[str] = Counter()
        whole: Counter[str] = Counter()
        for frames, seen in stacks.items():
            own[_named(frames[-1])] += seen
            for frame in {_named(frame) for frame in frames}:
                whole[frame] += seen
        part = parts.setdefault(kind, Part())
        part.own = [(frame, n / total) for frame, n in own.most_common(_TOP)]
        part.whole = [(frame, n / total) for frame, n in whole.most_common(3 * _TOP)]


def _named(frame: str) -> str:
    """``function (file.py)``, without the line."""
    function, _, place = frame.partition(" (")
    name = place.rstrip(")").partition(":")[0]
    return f"{function} ({'/'.join(name.split('/')[-2:])})" if name else function


def render(found: list[Profile]) -> RenderableType:
    """For a terminal."""
    shown: list[RenderableType] = []
    for profile in found:
        table = Table(title=_title(profile), title_justify="left", header_style="bold")
        table.add_column("process")
        for name in ("CPU s", "CPU µs an input", "of one core"):
            table.add_column(name, justify="right")
        for kind, part in _sorted(profile):
            table.add_row(kind, *_figures(profile, part))
        shown += [table, Text()]
        for kind, part in _sorted(profile):
            if part.own:
                shown.append(Text(f"{kind}, functions by their own samples", style="bold"))
                shown += [Text(f"  {share:6.1%}  {frame}") for frame, share in part.own]
    return Group(*shown)


def markdown(found: list[Profile]) -> str:
    """For a document."""
    lines = []
    for profile in found:
        lines += [
            f"## {_title(profile)}",
            "",
            *tables.table(
                [
                    ["process", "CPU s", "CPU µs an input", "of one core"],
                    *([kind, *_figures(profile, part)] for kind, part in _sorted(profile)),
                ]
            ),
        ]
        for kind, part in _sorted(profile):
            for what, frames in (("by its own samples", part.own), ("with callees", part.whole)):
                if frames:
                    lines += ["", f"{kind}, {what}:", ""]
                    lines += [f"- {share:.1%} {frame}" for frame, share in frames]
        lines.append("")
    return "\n".join(lines)


def _title(profile: Profile) -> str:
    each = profile.wall_s / profile.inputs * 1e6
    return f"{profile.inputs:,} {profile.title}: {profile.wall_s:.2f} s, {each:,.0f} µs each"


def _sorted(profile: Profile) -> list[tuple[str, Part]]:
    return sorted(profile.parts.items(), key=lambda item: -item[1].cpu_s)


def _figures(profile: Profile, part: Part) -> list[str]:
    return [
        f"{part.cpu_s:.2f}",
        f"{part.cpu_s / profile.inputs * 1e6:,.0f}",
        f"{part.cpu_s / profile.wall_s:.0%}",
    ]
