"""``rekindle top``: its frames, and the screen of a real one."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from rekindle.cli import top_model as model
from rekindle.cli.top_frame import frame, phases_bar
from rekindle.cli.top_model import Sort
from rekindle.linux.plain_descriptors import readable
from rekindle.wire import rekindle_pb2 as pb
from tests.cli import command
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, Instance, in_loop, spec

PHASES = {"isolate": 4.0, "restore": 15.0, "reseed": 1.0}


def report(functions: int = 3, runners: int = 5, starts: int = 3) -> pb.StatusReply:
    """What a controller may say."""
    start = {"function": "app1.serve", "strategy": "restore"}
    given: dict[str, Any] = {
        "version": "1",
        "uptime_s": 65,
        "loop_lag_ms": 0.2,
        "redis": {"up": True, "used_memory": 1 << 20},
        "apps": [
            {
                "name": f"app{i}",
                "functions": [
                    {
                        "name": "serve",
                        "function_id": f"fu-{i}",
                        "last_minute": {
                            "calls_per_s": float(i),
                            "call_ms": {"p50": 2.0, "p95": 30.0 - i},
                            "start_ms": {"p50": 31.0, "p95": 40.0},
                            "starts": {"restore": 2},
                        },
                        "queued": 7 if i == 0 else 0,
                        "oldest_s": 1.5,
                    }
                ],
            }
            for i in range(functions)
        ],
        "agents": [
            {
                "host": "node-1",
                "connected": True,
                "max_runners": 8,
                "stats": {
                    "memory": {"rss_bytes": 3 << 20, "pss_bytes": 2 << 20, "mapped_bytes": 1 << 20},
                    "runners": [
                        {
                            "id": f"ru-{i:022}",
                            "function_id": "fu-1",
                            "state": "busy" if i == 2 else "idle",
                            "strategy": "restore",
                            "age_s": 3.0 + i,
                            "inputs": 12,
                            "pid": 4711,
                            "pss_bytes": 84 << 20,
                        }
                        for i in range(runners)
                    ],
                },
            }
        ],
        "recent_starts": [
            {**start, "ms": 20.0, "phases": PHASES, "ok": True, "at": i} for i in range(starts)
        ],
    }
    return pb.StatusReply(**given)


def text(given: pb.StatusReply, width: int = 120, height: int | None = None) -> str:
    return frame(given, width, height, Sort.CALLS).plain


def test_a_frame_shows_functions_runners_starts_and_memory() -> None:
    shown = text(report())
    lines = shown.splitlines()
    assert "pss 2 MiB" in shown and "mapped 1 MiB" in shown and "rss 3 MiB" in shown
    [function] = [line for line in lines if line.startswith("app1.serve")]
    for part in ("1.0", "2.0ms", "29.0ms", "31.0ms", "1/4/0", "restore 2"):
        assert part in function
    busy = next(line for line in lines if "busy" in line)
    for part in ("ru-0000000000000000000002", "restore", "5.0s", "12", "4711", "84 MiB"):
        assert part in busy
    start = next(line for line in lines if "20.0ms" in line)
    for part in ("isolate 4.0", "restore 15.0", "reseed 1.0"):
        assert part in start


def test_a_runner_of_an_app_that_is_closed_has_its_functions_name() -> None:
    given = report()
    runner = given.agents[0].stats.runners.add(id="ru-closed", function_id="fu-no-more")
    runner.function = "closed.serve"
    [line] = [line for line in text(given).splitlines() if line.startswith("ru-closed")]
    assert line.split()[1] == "closed.serve" and "fu-" not in text(given)


def test_gpus_have_a_column_where_a_runner_has_some() -> None:
    given = report()
    assert "gpu" not in text(given)
    stats = given.agents[0].stats
    gpus = pb.RunnerGpus(uuids=["GPU-1"], gpus=0.5, used_bytes=3 << 30, busy_percent=40)
    stats.runners[2].gpus.CopyFrom(gpus)
    stats.gpus.devices.add(memory_bytes=24 << 30, used_bytes=4 << 30, runners=["ru"])
    stats.gpus.devices.add(
        memory_bytes=24 << 30,
        loans=[pb.GpuLoan(to="spare")],
        holder=pb.GpuHolder(held_bytes=2 << 30),
    )
    stats.gpus.waiting = 1
    shown = text(given)
    assert "gpus 1 of 2, 4.0 GiB of 48.0 GiB, weights 2.0 GiB, 1 lent, 1 wait" in shown
    busy = next(line for line in shown.splitlines() if "busy" in line)
    assert "0.5: 3.0 GiB 40%" in busy


@pytest.mark.parametrize(("width", "height"), [(80, 23), (80, 12), (100, 30), (200, 50), (40, 10)])
def test_a_frame_fits_whatever_there_is_to_show(width: int, height: int) -> None:
    for given in (report(), report(300, 300, 60), report(0, 0, 0)):
        lines = text(given, width, height).splitlines()
        assert len(lines) <= height
        assert max(len(line) for line in lines) <= width


def test_each_part_has_its_share_and_says_what_it_leaves_out() -> None:
    shown = text(report(300, 300, 60), 80, 23)
    for part in ("more functions", "more runners", "older starts"):
        assert part in shown
    assert shown.count("serve") > 10


def test_a_report_that_lacks_everything_is_shown() -> None:
    assert "no agent is connected" in text(pb.StatusReply())
    away = pb.StatusReply(agents=[pb.AgentStatus(host="n")], redis=pb.RedisStatus(up=False))
    assert "redis is away" in text(away) and "away" in text(away)


def test_functions_are_ordered_by_what_is_asked_for() -> None:
    given = report(3)
    names = {sort: [row.name[3] for row in model.functions(given, sort)] for sort in Sort}
    assert names[Sort.CALLS] == ["2", "1", "0"]
    assert names[Sort.LATENCY] == ["0", "1", "2"]
    assert names[Sort.QUEUE][0] == "0"
    assert names[Sort.RUNNERS][0] == "1"
    assert names[Sort.NAME] == ["0", "1", "2"]
    assert [r.name[3] for r in model.functions(given, Sort.NAME, reverse=True)] == ["2", "1", "0"]
    seen = []
    sort = Sort.CALLS
    for _ in Sort:
        seen.append(sort)
        sort = sort.next()
    assert sort is Sort.CALLS and set(seen) == set(Sort)


def test_a_bar_is_as_long_as_its_phases() -> None:
    bar = phases_bar(PHASES, 20).plain
    assert bar.startswith("█" * 4 + "▓" * 15 + "▒")
    assert "█isolate 4.0 ▓restore 15.0 ▒reseed 1.0" in bar
    assert phases_bar({}, 5).plain.strip() == ""
    tiny = phases_bar({"image": 0.001, "import": 900.0}, 10).plain
    assert tiny.startswith("█" * 10) and "image 0.0" in tiny


@in_loop
async def test_one_frame_of_a_real_controller(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("watched", spec("price"))
        agent.answer(echo)
        start = {"seq": 1, "function_id": function_id, "strategy": "fork", "at_ns": time.time_ns()}
        runner = {"id": "ru-watched", "function_id": function_id, "app_id": app_id, "pid": 9}
        stats = pb.NodeStats(
            runners=[{**runner, "state": "idle", "strategy": "fork", "age_s": 5.0, "inputs": 3}],
            starts=[{**start, "runner_id": "ru-watched", "phases_ms": {"fork": 6.5}}],
        )
        await agent.send(heartbeat=pb.Heartbeat(stats=stats))
        await client.invoke(function_id)
        ended = await asyncio.to_thread(
            command.rekindle, shared.directory, "top", "--once", COLUMNS="100"
        )
        assert "watched.price" in ended.stdout
        assert "ru-watched" in ended.stdout
        assert "fork 6.5" in ended.stdout
        assert "\x1b" not in ended.stdout
        assert max(len(line) for line in ended.stdout.splitlines()) <= 100


class Screen:
    """``rekindle top`` in a terminal of 80 by 24."""

    def __init__(self, directory: Path) -> None:
        self.terminal, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(other)
        environ = {**command.environ(directory), "TERM": "xterm-256color"}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            environ.pop(name, None)
        self.other = other
        self.process = subprocess.Popen(
            [sys.executable, "-c", command._MAIN, "top", "--interval", "0.2"],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environ,
            start_new_session=True,
        )
        self.seen = b""

    def until(self, wanted: bytes) -> None:
        """Read until the screen has shown it."""
        deadline = time.monotonic() + command.PATIENCE_S
        while wanted not in self.seen:
            ready = readable([self.terminal], deadline - time.monotonic())
            assert ready, f"never showed {wanted!r}: {self.seen[-2000:]!r}"
            self.seen += os.read(self.terminal, 65536)

    def press(self, keys: bytes) -> None:
        """Type."""
        self.seen = b""
        os.write(self.terminal, keys)

    def end(self) -> int:
        """Its exit status; it must have given the terminal back."""
        self.until(b"\x1b[?1049l")
        status = self.process.wait(command.PATIENCE_S)
        assert termios.tcgetattr(self.other)[3] == self.before[3]
        return status


@contextmanager
def screen(directory: Path) -> Iterator[Screen]:
    """A screen that is gone afterwards."""
    made = Screen(directory)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        for descriptor in (made.terminal, made.other):
            with suppress(OSError):
                os.close(descriptor)


def test_keys_sort_and_quit_on_a_screen_of_80_by_24(shared: Instance) -> None:
    with screen(shared.directory) as shown:
        shown.until("calls/s▾".encode())
        shown.press(b"s")
        shown.until("p95▾".encode())
        shown.press(b"\x1b[A")  # an arrow is no Escape
        shown.until(b"FUNCTION")
        shown.press(b"q")
        assert shown.end() == 0


def test_ctrl_c_gives_the_terminal_back(shared: Instance) -> None:
    with screen(shared.directory) as shown:
        shown.until(b"FUNCTION")
        shown.process.send_signal(signal.SIGINT)
        assert shown.end() == 130
        assert b"Traceback" not in shown.seen


def test_a_controller_that_is_away_is_said_and_waited_for(instance: Instance) -> None:
    with screen(instance.directory) as shown:
        shown.until(b"FUNCTION")
        instance.kill_controller()
        shown.until(b"no controller answers")
        shown.seen = b""
        instance.start_controller()
        shown.until(b"q quits")
        shown.press(b"q")
        assert shown.end() == 0
