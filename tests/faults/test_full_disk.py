"""The disk of the queue is full for a while: nothing is lost, everybody waits."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil
import redis

from tests.e2e.harness import COMMAND, SMALL_DISK, Gate, Home, wait_until
from tests.e2e.processes import holder_of
from tests.faults.instances import NEXT, SCRIPT


def _fill(file: Path) -> None:
    """Until nothing more can be written."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    os.write(fd, b"x" * size)
    finally:
        os.close(fd)


def _refuses_to_write(client: redis.Redis) -> bool:
    try:
        client.set("probe", "x")
    except redis.exceptions.ResponseError as error:
        return "MISCONF" in str(error)
    return False


SPAWN = (
    Gate.SOURCE
    + """
import rekindle

app = rekindle.App("many")

@app.function()
def double(n):
    return 2 * n

@app.local_entrypoint()
def main(path: str):
    print("up", flush=True)
    wait_at(path)
    print(double.spawn_map(range(3)))
"""
)


def test_what_redis_does_not_take_is_said_and_ends_with_an_error(home: Home, gate: Gate) -> None:
    """Also the last of it: what no one waits for is to be cancelled, which waits for Redis, too."""
    script = home.script(SPAWN)
    home.path.mkdir()
    run = f"{COMMAND} run {script} --path {gate.directory}; s=$?; {COMMAND} status"
    shell = f"{COMMAND} up && {run}; {COMMAND} down; exit $s"
    small_disk = (*SMALL_DISK, str(home.path), "16m")
    program = home.start(*small_disk, "bash", "-c", shell, REKINDLE_REDIS_PATIENCE_S="9")
    program.until("waiting")
    seen_there = Path(f"/proc/{program.process.pid}/root{home.path}")
    _fill(seen_there / "filler")
    with redis.Redis(unix_socket_path=str(seen_there / "daemon" / "redis.sock")) as client:
        wait_until(lambda: _refuses_to_write(client), "Redis to find the disk full")
    gate.open()
    program.until("Waiting: Redis at", "err")
    ended = program.end()
    assert ended.status == 1, str(ended)
    assert "Error: Redis at" in ended.err and "MISCONF" in ended.err, str(ended)
    assert "has taken nothing for" in ended.out, str(ended)


def test_calls_wait_while_the_disk_of_the_queue_is_full(home: Home, gate: Gate) -> None:
    script = home.script(SCRIPT)
    home.path.mkdir()
    command = [str(COMMAND), "run", str(script), "--path", str(gate.directory)]
    program = home.start(*SMALL_DISK, str(home.path), "16m", *command)
    program.until("waiting")
    # The disk is mounted where that program sees it alone.
    seen_there = Path(f"/proc/{program.process.pid}/root{home.path}")
    (instance,) = (seen_there / "run").iterdir()
    runner = holder_of(psutil.Process(program.process.pid), gate.held)
    filler = seen_there / "filler"
    _fill(filler)
    with redis.Redis(unix_socket_path=str(instance / "redis.sock")) as client:
        wait_until(lambda: _refuses_to_write(client), "Redis to find the disk full")
        gate.open()
        wait_until(
            lambda: str(gate.held) not in [file.path for file in runner.open_files()],
            "the function to return",
        )
        assert program.process.poll() is None
        filler.unlink()
    ended = program.end()
    assert (ended.status, ended.out) == (0, "waiting\ngot held\n" + NEXT), str(ended)


LARGE = (
    Gate.SOURCE
    + """
import rekindle

app = rekindle.App("large")

@app.function()
def large(path):
    wait_at(path)
    return bytes(2 << 20)

@app.local_entrypoint()
def main(path: str):
    print("result of", len(large.spawn(path).get()))
"""
)


def test_a_large_result_waits_while_the_disk_of_blobs_is_full(home: Home, gate: Gate) -> None:
    blobs = home.root / "blobs"
    blobs.mkdir()
    script = home.script(LARGE)
    command = [str(COMMAND), "run", str(script), "--path", str(gate.directory)]
    disk = (*SMALL_DISK, str(blobs), "16m")
    program = home.start(*disk, *command, REKINDLE_BLOB_URL=str(blobs))
    program.until("waiting")
    filler = Path(f"/proc/{program.process.pid}/root{blobs}/filler")
    _fill(filler)
    (instance,) = (home.path / "run").glob("rk-*")
    gate.open()
    wait_until(
        lambda: "results wait for the blob store" in (instance / "logs" / "agent.log").read_text(),
        "the agent to find the disk full",
    )
    assert program.process.poll() is None
    filler.unlink()
    ended = program.end()
    assert (ended.status, ended.out) == (0, f"waiting\nresult of {2 << 20}\n"), str(ended)
