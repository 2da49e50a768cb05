"""Namespaces: what runs in a sandbox sees only its own, and dies with whoever made it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from rekindle.runtime.isolation.sandbox import JobExit, Sandbox
from rekindle.runtime.isolation.spawner_client import Spawner
from tests.runtime.isolation.spawning import nothing_outlives_its_owner, with_spawner

#: Of namespaces, as descriptors of them are shown.
_KINDS = ("ipc", "mnt", "pid", "user", "uts")
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


@contextlib.asynccontextmanager
async def serving(spawner: Spawner) -> AsyncIterator[Sandbox]:
    """One whose init has a job: it has namespaces of its own by then, and stays."""
    sandbox = await spawner.spawn("guest")
    begun, tells = os.pipe()
    job = sandbox.run(["/bin/sh", "-c", "echo; exec /bin/sleep 600"], env={}, fds={1: tells})
    os.close(tells)
    assert await asyncio.to_thread(os.read, begun, 1) == b"\n"
    os.close(begun)
    try:
        yield sandbox
    finally:
        sandbox.kill()
        await job


def test_a_process_sees_its_own_pid_namespace_host_name_and_descriptors(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        ended, text = await output_of(spawner, LOOK, pid=100)
        assert ended == JobExit(0)
        first, fds = text.splitlines()
        assert first == "100 guest [1, 100]"
        assert fds == "[0, 1, 2, 3]"  # 3 is the listing itself

    with_spawner(tmp_path, scenario)


def test_none_sees_the_shared_memory_of_the_machine_or_the_ipc_of_another(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        with tempfile.NamedTemporaryFile(dir="/dev/shm"):
            _ended, text = await output_of(spawner, "import os; print(os.listdir('/dev/shm'))")
        assert text == "[]\n"
        async with serving(spawner) as one, serving(spawner) as other:
            places = [spawner.pid, one.pid, other.pid]
            for name in ("ipc", "uts", "mnt", "pid"):
                assert len({os.readlink(f"/proc/{pid}/ns/{name}") for pid in places}) == 3

    with_spawner(tmp_path, scenario)


def test_an_init_holds_nothing_that_leads_back_to_its_spawners_namespaces(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        async with serving(spawner) as sandbox:
            held = [os.readlink(one) for one in Path(f"/proc/{sandbox.pid}/fd").iterdir()]
            assert not [one for one in held if one.split(":")[0] in _KINDS or one == "/"]

    with_spawner(tmp_path, scenario)


@pytest.mark.parametrize("options", [{}, {"new_session": True}])
def test_ctrl_c_does_nothing_to_a_spawner_and_the_usual_to_what_runs(
    tmp_path: Path, options: dict[str, int]
) -> None:
    async def scenario(spawner: Spawner) -> None:
        started = psutil.Process(spawner.pid)
        (itself,) = started.children() or [started]  # in a user namespace it is a child of that
        itself.send_signal(signal.SIGINT)
        code = "import signal; print(signal.getsignal(signal.SIGINT).__name__)"
        ended, text = await output_of(spawner, code, **options)
        assert (ended.status, text) == (0, "default_int_handler\n")

    with_spawner(tmp_path, scenario)


def test_a_spawner_takes_no_module_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise ImportError('it is the user\\'s')")
    monkeypatch.chdir(tmp_path)

    async def scenario(spawner: Spawner) -> None:
        assert not spawner.gone.done()

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


@pytest.mark.parametrize(("program", "status"), [("/nowhere/absent", 127), ("/bin/true", 0)])
def test_a_job_that_has_ended_or_could_not_begin_leaves_nothing_mounted(
    tmp_path: Path, program: str, status: int
) -> None:
    async def scenario(spawner: Spawner) -> None:
        sandbox = await spawner.spawn("guest")
        run_dir = spawner.feature_cache_dir
        sandbox.run([sys.executable, "-c", "import time; time.sleep(600)"], env={})  # it stays
        assert (await sandbox.run([program], env={}, run_dir=run_dir)).status == status
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
