"""What the agent makes of what its spawner reports; played by the test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from rekindle.exception import StartError
from rekindle.linux import limits
from rekindle.linux.plain_descriptors import readable
from rekindle.runtime.isolation.spawner_client import Spawner
from tests import descriptors, exhausted
from tests.runtime.isolation.spawning import with_spawner


class Played:
    """The other end of a spawner's connection."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    async def asked(self) -> int:
        """The number of the next request."""
        data = await asyncio.get_running_loop().sock_recv(self._end, 1 << 16)
        number: int = json.loads(data)["id"]
        return number

    def says(self, **message: Any) -> None:
        self._end.send(json.dumps(message).encode())

    def spawned(self, number: int, pid: int) -> None:
        """As if this process were the init."""
        pidfd = os.pidfd_open(os.getpid())
        try:
            message = {"event": "spawned", "id": number, "pid": pid}
            socket.send_fds(self._end, [json.dumps(message).encode()], [pidfd])
        finally:
            os.close(pidfd)


def test_an_init_is_not_taken_for_one_that_had_its_number_and_that_nobody_waited_for() -> None:
    async def main() -> None:
        process: Any = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            spawner, played = Spawner(process, ours), Played(theirs)
            asyncio.get_running_loop().add_reader(ours, spawner._on_message)
            given_up = asyncio.create_task(spawner.spawn("given-up"))
            first = await played.asked()
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            waiting = asyncio.create_task(spawner.spawn("waiting"))
            second = await played.asked()
            played.spawned(first, 7)
            played.says(event="gone", pid=7, status=0)
            played.spawned(second, 7)  # the number is free again by then
            sandbox = await asyncio.wait_for(waiting, 60)
            assert not sandbox.gone.done()
            sandbox.close()
            # One that ends before it is known here has ended all the same.
            waiting = asyncio.create_task(spawner.spawn("short"))
            played.spawned(await played.asked(), 8)
            played.says(event="gone", pid=8, status=3)
            assert await asyncio.wait_for((await waiting).gone, 10) == 3
            asyncio.get_running_loop().remove_reader(ours)

    asyncio.run(main())


def test_that_a_spawner_has_ended_is_known_before_it_is_heard(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        assert not spawner.has_ended
        started = psutil.Process(spawner.pid)
        (itself,) = started.children() or [started]  # in a user namespace it is a child of that
        ended = os.pidfd_open(itself.pid)
        itself.kill()
        readable([ended])  # the loop is not to run meanwhile
        os.close(ended)
        assert spawner.has_ended and not spawner.gone.done()
        await spawner.gone
        assert spawner.has_ended

    with_spawner(tmp_path, scenario)


def test_its_files_are_reached_whatever_root_it_is_in(tmp_path: Path) -> None:
    """It is in an image's for as long as it starts a worker there; here it is in none any more."""

    async def scenario(spawner: Spawner) -> None:
        file = spawner.feature_cache_here / "written"
        file.write_text("before")
        os.kill(spawner.pid, signal.SIGKILL)
        await spawner.gone
        assert file.read_text() == "before"

    with_spawner(tmp_path, scenario)


@pytest.mark.parametrize("left", [0, 1])
def test_a_process_that_the_agent_has_no_descriptor_for_is_not_waited_for_and_ends(
    tmp_path: Path, left: int
) -> None:
    """One is taken by its pidfd, and another is needed to read its number."""

    async def scenario(spawner: Spawner) -> None:
        started = psutil.Process(spawner.pid)

        def inits() -> set[psutil.Process]:
            return set(started.children(recursive=True))

        before, opened = inits(), descriptors.opened()
        asked = asyncio.create_task(spawner.spawn("first"))
        await asyncio.sleep(0)  # it has asked
        with exhausted.descriptors(left), pytest.raises(StartError, match="a new process"):
            await asyncio.wait_for(asked, 30)
        while inits() - before:
            await asyncio.sleep(0.01)
        assert not descriptors.newly_open(opened)
        with exhausted.descriptors(0), pytest.raises(StartError, match="no connection"):
            await spawner.spawn("second")
        (await spawner.spawn("third")).kill()

    with_spawner(tmp_path, scenario)


def test_what_it_starts_may_have_as_many_files_open_as_the_agent_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_given", 300)  # as if the limit had been raised

    async def scenario(spawner: Spawner) -> None:
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        sandbox = await spawner.spawn("guest")
        job = sandbox.run(["/bin/sh", "-c", "ulimit -Sn"], env={}, fds={1: write_fd})
        os.close(write_fd)
        assert (await job).status == 0
        assert os.read(read_fd, 100) == b"300\n"
        os.close(read_fd)

    with_spawner(tmp_path, scenario)
