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
