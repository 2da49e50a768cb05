"""Namespaces: what runs in a sandbox sees only its own, and dies with whoever made it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from rekindle.runtime.isolation.sandbox import JobExit, Sandbox
from rekindle.runtime.isolation.spawner_client import Spawner
from tests.runtime.isolation.spawning import nothing_outlives_its_owner, with_spawner

LOOK = """
import os, socket, sys
print(os.getpid(), socket.gethostname(), sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))
print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))
"""


async def output_of(spawner: Spawner, code: str, **options: int) -> tuple[JobExit, str]:
    sandbox = await spawner.spawn("guest")
    read_fd, write_fd = os.pipe()
    job = sandbox.run([sys.executable, "-c", code], env={}, fds={1: write_fd}, **options)
    os.close(write_fd)
    ended = await job
    with os.fdopen(read_fd) as pipe:
        text = pipe.read()
    assert await sandbox.gone == 0
    return ended, text


def test_a_process_sees_its_own_pid_namespace_host_name_and_descriptors(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        ended, text = await output_of(spawner, LOOK, pid=100)
        assert ended == JobExit(0)
        first, fds = text.splitlines()
        assert first == "100 guest [1, 100]"
        assert fds == "[0, 1, 2, 3]"  # 3 is the listing itself

    with_spawner(tmp_path, scenario)


def test_mounts_made_inside_are_not_seen_outside(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        target = tmp_path / "mounted"
        target.mkdir()
        code = f"""
import sys; sys.path.insert(0, {str(Path.cwd())!r})
from rekindle.linux import mounts
mounts.mount('tmpfs', {str(target)!r}, 'tmpfs')
open({str(target / "file")!r}, 'w').close()
"""
        ended, _text = await output_of(spawner, code)
        assert ended.status == 0
        assert list(target.iterdir()) == []
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()

    with_spawner(tmp_path, scenario)


def test_how_a_process_ended_is_told_in_words(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        ended, _text = await output_of(spawner, "raise SystemExit(7)")
        assert ended.in_words() == "exit status 7"
        ended, _text = await output_of(spawner, "import os; os.kill(os.getpid(), 9)")
        assert ended.in_words() == "killed by SIGKILL"
        sandbox = await spawner.spawn("guest")
        ended = await sandbox.run(["/nonesuch"], env={})
        assert ended.status == 127

    with_spawner(tmp_path, scenario)


def test_killing_a_sandbox_kills_all_that_runs_in_it(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        sandbox = await spawner.spawn("guest")
        code = "import os, time; os.fork(); os.setsid() if os.getpid() != 2 else 0; time.sleep(99)"
        job = sandbox.run([sys.executable, "-c", code], env={})
        init = psutil.Process(sandbox.pid)
        while len(init.children(recursive=True)) < 2:
            await asyncio.sleep(0.01)
        processes = init.children(recursive=True)
        sandbox.kill()
        assert (await job).status == -signal.SIGKILL
        _gone, alive = await asyncio.to_thread(psutil.wait_procs, processes, 60)
        assert not alive

    with_spawner(tmp_path, scenario)


def test_a_job_that_nobody_waits_for_any_more_is_killed_and_its_sandbox_stays(
    tmp_path: Path,
) -> None:
    async def scenario(spawner: Spawner) -> None:
        sandbox = await spawner.spawn("guest")
        other = sandbox.run(["/bin/sleep", "99"], env={})
        job = sandbox.run(["/bin/sleep", "98"], env={})
        waiting = asyncio.create_task(sandbox.to_its_end(job, 60))
        await asyncio.sleep(0)  # it has begun to wait: both may be there already
        init = psutil.Process(sandbox.pid)
        while len(init.children()) < 2:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert job.done() and job.result() == JobExit(-signal.SIGKILL)
        assert not other.done()
        assert (await sandbox.run(["/bin/true"], env={})).status == 0
        sandbox.kill()

    with_spawner(tmp_path, scenario)


def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    start = (
        'sandbox = await spawner.spawn("guest"); '
        'sandbox.run([sys.executable, "-c", "import time; time.sleep(99)"], env={}, '
        "new_session=True)"
    )
    assert nothing_outlives_its_owner(tmp_path, start, 1 + 3 * 2)


def test_what_an_init_reported_last_counts_though_its_end_is_seen_first() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        sandbox = Sandbox(-1, ours)
        job = sandbox.run(["/bin/true"], env={})
        with theirs:
            name = json.loads(theirs.recv(1 << 16))["job"]
            theirs.send(json.dumps({"job": name, "pid": 2, "status": 3}).encode())
        sandbox.ended(0)
        assert await job == JobExit(3)

    asyncio.run(main())


def test_a_job_that_cannot_be_started_leaves_nothing_mounted(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        sandbox = await spawner.spawn("guest")
        run_dir = spawner.feature_cache_dir
        sandbox.run([sys.executable, "-c", "import time; time.sleep(600)"], env={})  # it stays
        failed = await sandbox.run([str(tmp_path / "absent")], env={}, run_dir=run_dir)
        assert failed.status == 127
        read_fd, write_fd = os.pipe()
        code = "print([one.split()[4] for one in open('/proc/self/mountinfo')].count('/run'))"
        job = sandbox.run([sys.executable, "-c", code], env={}, fds={1: write_fd})
        os.close(write_fd)
        assert (await job).status == 0
        with os.fdopen(read_fd) as pipe:
            mounted = int(pipe.read())
        here = Path("/proc/self/mountinfo").read_text().splitlines()
        assert mounted == [one.split()[4] for one in here].count("/run")
        sandbox.kill()

    with_spawner(tmp_path, scenario)
