"""Thousands of inputs while everything is killed at random: each completes once, with its result.

``REKINDLE_FAULT_SEED`` repeats a run's plan of kills, ``REKINDLE_FAULT_KEEP`` names a directory for
the logs. ``make soak`` has the long run.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import redis

from tests.e2e.harness import Home, Program, wait_until
from tests.faults.schedule import Kill, Kind, schedule
from tests.faults.victims import Victims

#: Inputs and kills: three of each kind, and nine.
SHORT, LONG = (1500, 15), (5200, 45)
#: Nothing happens for so long, and it is stuck.
STUCK_S = 90.0

#: Submits in all three ways while the kills go on. A line for each call that was acknowledged: its
#: id and the numbers that are its inputs.
PRODUCER = """
    import json, os, threading, time, rekindle

    app = rekindle.App("lossless")

    @app.cls(enable_memory_snapshot=True, max_containers=4)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            self.base = 7

        @rekindle.method()
        def square(self, n, path):
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(fd, f"{n}\\n".encode())
            os.close(fd)
            until = time.monotonic() + 1
            time.sleep((n * 7919 % 41) / 1000)
            while os.path.exists(path + ".hold") and time.monotonic() < until:
                time.sleep(0.005)  # a kill is due: it is not to be left behind
            return n * n + self.base

    @app.local_entrypoint()
    def main(log: str, ids: str, gate: str, inputs: int):
        square = Model().square
        fifth = inputs // 5
        file = open(ids, "a")

        def acknowledged(call, first, count):
            file.write(json.dumps([call.object_id, first, count]) + "\\n")
            file.flush()

        def many(first, count):
            numbers = range(first, first + count)
            acknowledged(square.spawn_map(numbers, kwargs={"path": log}), first, count)

        def single():
            for n in range(fifth, 2 * fifth):
                acknowledged(square.spawn(n, log), n, 1)
                time.sleep(0.02)

        many(0, fifth)
        singles = threading.Thread(target=single)
        singles.start()
        many(2 * fifth, fifth)
        numbers = range(3 * fifth, 4 * fifth)
        print("mapped", json.dumps(list(square.map(numbers, kwargs={"path": log}))), flush=True)
        many(4 * fifth, inputs - 4 * fifth)
        singles.join()
        print("submitted", flush=True)
        with open(gate) as waits:
            waits.read()
"""

#: Another client: knows the ids alone.
CHECKER = """
    import json, sys, rekindle

    with open(sys.argv[1]) as file:
        for line in file:
            call_id, first, count = json.loads(line)
            call = rekindle.FunctionCall.from_id(call_id)
            values = [call.get()] if count == 1 else list(call.iter())
            print(json.dumps([first, values]), flush=True)
"""


def value(n: int) -> int:
    return n * n + 7


class Begun:
    """Which inputs have begun to run, and how often, from what they write."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._offset = 0
        self._rest = b""
        self.times: Counter[int] = Counter()

    def look(self) -> int:
        """How many different ones."""
        if self.log.exists():
            with self.log.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
            self._offset += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.times.update(map(int, lines))
        return len(self.times)


def kill_all(plan: list[Kill], victims: Victims, begun: Begun, producer: Program) -> Counter[Kind]:
    """Carry out the plan."""
    done: Counter[Kind] = Counter()
    hold = begun.log.with_name(begun.log.name + ".hold")
    for kill in plan:
        seen, since = begun.look(), time.monotonic()
        while seen < kill.after:
            assert producer.process.poll() is None, str(producer.end())
            assert time.monotonic() - since < STUCK_S, f"stuck at {seen} inputs, before {kill}"
            time.sleep(0.01)  # a file that grows gives no event
            before, seen = seen, begun.look()
            if seen > before:
                since = time.monotonic()
        hold.touch()
        pid = victims.kill(kill.kind, kill.rank)
        hold.unlink()
        print(f"{time.strftime('%H:%M:%S')} at {seen} killed {kill.kind.value} {pid or '- none'}")
        done[kill.kind] += pid is not None
    return done


def acknowledged(ids: Path) -> list[tuple[str, int, int]]:
    """The calls that the producer noted: id, first number, how many."""
    return [tuple(json.loads(line)) for line in ids.read_text().splitlines()]


def check(checker: Program, calls: list[tuple[str, int, int]]) -> None:
    """Each call has each of its values, once, in order."""
    ended = checker.end(STUCK_S)
    assert ended.status == 0, ended.err
    got = [json.loads(line) for line in ended.out.splitlines()]
    assert [first for first, _ in got] == [first for _, first, _ in calls]
    for (first, values), (call_id, _, count) in zip(got, calls, strict=True):
        right = [value(n) for n in range(first, first + count)]
        assert values == right, f"{call_id}: {len(values)} values for {count} inputs"


@pytest.mark.criu
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("inputs", "kills"), [SHORT, pytest.param(*LONG, marks=pytest.mark.soak)], ids=["short", "long"]
)
def test_everything_that_was_acknowledged_completes_once_whatever_is_killed(
    home: Home, inputs: int, kills: int
) -> None:
    seed = int(os.environ.get("REKINDLE_FAULT_SEED") or secrets.randbelow(2**32))
    plan = schedule(seed, kills, inputs)
    print(f"REKINDLE_FAULT_SEED={seed} repeats this: {inputs} inputs, {kills} kills")
    # What is killed from outside did not die of itself: the supervisor is not to give it up.
    supervisor = home.up(REKINDLE_QUICK_DEATH_S="0")
    log, ids, gate = home.root / "ran", home.root / "ids", home.root / "gate"
    os.mkfifo(gate)
    producer = home.start_rekindle(
        "run", home.script(PRODUCER), "--log", log, "--ids", ids, "--gate", gate, "--inputs",
        str(inputs),
    )  # fmt: skip
    checker = home.script(CHECKER, "checker.py")
    begun, victims = Begun(log), Victims(supervisor, home.daemon)
    try:
        began = time.monotonic()
        done = kill_all(plan[: kills // 2], victims, begun, producer)
        # One that reads results while the kills go on, of what was acknowledged until now.
        early_ids = home.root / "ids-early"
        shutil.copy(ids, early_ids)
        early = home.start(sys.executable, checker, early_ids)
        done += kill_all(plan[kills // 2 :], victims, begun, producer)
        wait_until(lambda: "submitted" in producer.text(), "everything to be submitted", STUCK_S)
        check(early, acknowledged(early_ids))
        calls = acknowledged(ids)
        check(home.start(sys.executable, checker, ids), calls)
        took_s = time.monotonic() - began
        stored = {call_id: victims.call(call_id) for call_id, _, _ in calls}
        left = undone(home)
        gate.write_text("")
        ended = producer.end(STUCK_S)
    except BaseException:
        keep(home, producer, seed)
        raise
    finally:
        victims.close()
    try:
        assert ended.status == 0, str(ended)
        mapped = json.loads(ended.out.partition("mapped ")[2].splitlines()[0])
        fifth = inputs // 5
        assert mapped == [value(n) for n in range(3 * fifth, 4 * fifth)]
        assert sum(count for _, _, count in calls) == inputs - fifth
        assert done.total() >= 0.9 * kills and set(done) == set(Kind), done
        assert begun.look() == inputs, "every input ran"
        assert stored == {call_id: (count, count) for call_id, _, count in calls}
        assert not left, f"inputs that are still on a queue: {left}"
        again = Counter(times for times in begun.times.values() if times > 1)
        print(
            f"{inputs} inputs in {took_s:.0f} s under {done.total()} kills; "
            f"{again.total()} ran more than once: {dict(sorted(again.items()))} (times: inputs)"
        )
        report = home.status()
        assert report["apps"] == [], "the app is closed"
        assert [a["in_flight"] for a in report["agents"] if a["connected"]] == [0]
        # And after a restart of everything, from disk.
        home.rekindle("down")
        home.up()
        check(home.start(sys.executable, checker, ids), calls)
    except BaseException:
        keep(home, producer, seed)
        raise


def undone(home: Home) -> dict[str, int]:
    """Streams of functions that still have inputs."""
    with redis.Redis(unix_socket_path=str(home.daemon / "redis.sock")) as client:
        queues = list(client.scan_iter("rk:q:*", _type="stream"))
        lengths = {key.decode(): client.xlen(key) for key in queues}
    return {key: length for key, length in lengths.items() if length}


def keep(home: Home, producer: Program, seed: int) -> None:
    """Tell how the producer fared, and keep the logs where that is wanted."""
    print(f"producer: {producer.process.poll()}\n{producer.text('err')[-3000:]}")
    wanted = os.environ.get("REKINDLE_FAULT_KEEP")
    if wanted:
        kept = Path(wanted) / str(seed)
        shutil.copytree(home.daemon / "logs", kept / "logs", dirs_exist_ok=True)
        for name in ("ran", "ids"):
            shutil.copy(home.root / name, kept / name)
