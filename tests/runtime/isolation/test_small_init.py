"""A worker in namespaces of its own, whose init is the small program."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from rekindle.exception import StartError
from rekindle.linux.libc import check, libc
from rekindle.runtime.isolation import small_init
from rekindle.runtime.isolation.sandbox import JobExit, Sandbox, Worker
from rekindle.runtime.isolation.spawner_client import Spawner
from tests.runtime.isolation.spawning import (
    CHANNEL_FD,
    nothing_outlives_its_owner,
    with_spawner,
    worker_in,
)

#: A personality: uname(2) says 2.6.
_UNAME26 = 0x0020000
#: Says what it sees once it has a message, and ends as that says.
WORKER = f"""
import json, os, socket
channel = socket.socket(fileno={CHANNEL_FD})
order = channel.recv(1 << 16).decode()
seen = {{
    "pid": os.getpid(),
    "host": socket.gethostname(),
    "processes": sorted(int(p) for p in os.listdir('/proc') if p.isdigit()),
    "descriptors": sorted(int(fd) for fd in os.listdir('/proc/self/fd')),
    "run": sorted(os.listdir('/run')),
    "directory": os.getcwd(),
}}
channel.send(json.dumps(seen).encode())
exec(order)
"""


async def answer_of(sandbox: Sandbox, message: str) -> dict[str, object]:
    assert sandbox.worker is not None
    said: dict[str, object] = json.loads(await sandbox.worker.send(message.encode()))
    return said


def test_a_worker_sees_its_own_namespaces_and_descriptors_and_answers(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        read_fd, write_fd = os.pipe()
        sandbox = await worker_in(spawner, WORKER, fds={30: read_fd})
        os.close(read_fd)
        os.close(write_fd)
        seen = await answer_of(sandbox, "pass")
        assert seen["pid"] == small_init.WORKER_PID and seen["processes"] == [1, 2]
        assert seen["host"] == "guest" and seen["directory"] == "/"
        # 3 is the listing itself.
        assert seen["descriptors"] == [0, 1, 2, 3, CHANNEL_FD, small_init.CONTROL_FD, 30]
        assert await sandbox.gone == 0

    with_spawner(tmp_path, scenario)


def ends_after(tmp_path: Path, order: str) -> list[tuple[int, int]]:
    """Processes that a worker leaves which does as ordered, and how they ended."""
    ended: list[tuple[int, int]] = []

    async def scenario(spawner: Spawner) -> None:
        sandbox = await worker_in(spawner, WORKER)
        sandbox.on_adopted_exit(lambda pid, status: ended.append((pid, status)))
        await answer_of(sandbox, order)
        assert await sandbox.gone == 0

    with_spawner(tmp_path, scenario)
    return ended


def test_what_a_worker_leaves_is_adopted_and_its_end_reported(tmp_path: Path) -> None:
    leave = "if os.fork() == 0:\n channel.recv(1)  # until the agent lets go\n os._exit(7)"
    assert ends_after(tmp_path, leave) == [(3, 7)]


def test_an_adopted_one_that_was_killed_is_reported_by_its_signal(tmp_path: Path) -> None:
    order = "if os.fork() == 0:\n os.kill(os.getpid(), 9)"
    assert ends_after(tmp_path, order) == [(3, -signal.SIGKILL)]


def test_what_is_no_report_is_passed_over(tmp_path: Path) -> None:
    """The worker has the connection of its init, too."""
    ended: list[tuple[int, int]] = []
    errors: list[dict[str, Any]] = []

    async def scenario(spawner: Spawner) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, about: errors.append(about))
        sandbox = await worker_in(spawner, WORKER)
        sandbox.on_adopted_exit(lambda pid, status: ended.append((pid, status)))
        write = f"os.write({small_init.CONTROL_FD}, b'no report')"
        await answer_of(sandbox, f"{write}\nif os.fork() == 0:\n os._exit(7)")
        assert await sandbox.gone == 0

    with_spawner(tmp_path, scenario)
    assert (ended, errors) == ([(3, 7)], [])


def test_what_lies_over_run_is_seen_by_the_worker_alone(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        (spawner.feature_cache_here / "secret").touch()
        read_fd, write_fd = os.pipe()
        sandbox = await worker_in(
            spawner, WORKER, fds={30: read_fd}, run_dir=spawner.feature_cache_dir
        )
        os.close(read_fd)
        stay = "if os.fork() == 0:\n os.read(30, 1)\n os._exit(0)"
        seen = await answer_of(sandbox, stay)
        assert "secret" in str(seen["run"])
        while len(psutil.Process(sandbox.pid).children()) > 1:  # until the worker has gone
            await asyncio.sleep(0.01)
        over = Path(f"/proc/{sandbox.pid}/root/run/secret")
        while over.exists():
            await asyncio.sleep(0.01)
        os.close(write_fd)
        assert await sandbox.gone == 0

    with_spawner(tmp_path, scenario)


def test_an_init_keeps_nothing_open_but_its_connection(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        directory = os.open(tmp_path, os.O_RDONLY)
        sandbox = await worker_in(
            spawner, WORKER, fds={21: directory}, run_dir=spawner.feature_cache_dir
        )
        os.close(directory)
        held = Path(f"/proc/{sandbox.pid}/fd")
        while len(psutil.Process(sandbox.pid).children()) < 1:
            await asyncio.sleep(0.01)
        while [fd.name for fd in held.iterdir()] != [str(small_init.CONTROL_FD)]:
            await asyncio.sleep(0.01)
        assert os.readlink(f"/proc/{sandbox.pid}/cwd") == "/"
        sandbox.kill()
        await sandbox.gone

    with_spawner(tmp_path, scenario)


def test_the_program_cannot_be_written_by_who_finds_it(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        sandbox = await worker_in(spawner, WORKER)
        found = os.open(f"/proc/{sandbox.pid}/exe", os.O_RDONLY)
        sandbox.kill()
        await sandbox.gone  # while it runs it cannot be written anyway
        with pytest.raises(OSError, match="Read-only file system"):
            os.open(f"/proc/self/fd/{found}", os.O_WRONLY)
        os.close(found)

    with_spawner(tmp_path, scenario)


def test_a_worker_that_fails_or_is_not_there_is_reported(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        sandbox = await worker_in(spawner, "raise SystemExit(3)")
        assert sandbox.worker is not None
        sandbox.hear()
        assert await sandbox.worker.ended == JobExit(3)
        assert not sandbox.worker.is_there
        assert await sandbox.worker.send(b"too late") == b""
        missing = await spawner.spawn_worker("guest", Worker(["/nonesuch"], {}, CHANNEL_FD, {}))
        assert missing.worker is not None
        missing.hear()
        assert await missing.worker.ended == JobExit(127)

    with_spawner(tmp_path, scenario)


def test_a_worker_that_dies_with_its_message_has_an_empty_answer(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        code = f"import os, socket; socket.socket(fileno={CHANNEL_FD}).recv(9); os._exit(1)"
        sandbox = await worker_in(spawner, code)
        assert sandbox.worker is not None
        assert await sandbox.worker.send(b"go") == b""

    with_spawner(tmp_path, scenario)


def test_the_spawner_is_where_it_was_after_each(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        def place() -> list[str]:
            own = Path(f"/proc/{spawner.pid}")
            names = ("ns/mnt", "ns/uts", "ns/ipc", "ns/pid", "cwd", "root")
            return [os.readlink(own / name) for name in names]

        before = place()
        sandboxes = [await worker_in(spawner, WORKER) for _ in range(3)]
        plain = await spawner.spawn("guest")
        assert place() == before
        inits = {os.readlink(f"/proc/{one.pid}/ns/pid") for one in [*sandboxes, plain]}
        assert len(inits) == 4
        assert (await plain.run(["/bin/true"], env={})).status == 0
        for one in sandboxes:
            one.kill()

    with_spawner(tmp_path, scenario)


def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    start = (
        'await spawner.spawn_worker("guest", Worker([sys.executable, "-c", '
        '"import os, time; os.fork(); time.sleep(99)"], {}, 8, {}))'
    )
    assert nothing_outlives_its_owner(tmp_path, start, 1 + 3 * 3)


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_there_is_a_program_for_each_machine(
    machine: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    made = small_init.program()
    assert made[:4] == b"\x7fELF" and int.from_bytes(made[18:20], "little") == number
    assert len(made) < 512 and made.endswith(b"proc\0/proc\0/\0")


def test_another_machine_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="not on riscv64"):
        small_init.program()


@pytest.mark.parametrize(("release", "does"), [("5.4.0-200", False), ("5.9", True), ("6.1", True)])
def test_an_older_kernel_is_refused_by_name(
    release: str, does: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    if does:
        assert small_init.program()
    else:
        with pytest.raises(OSError, match=f"not {release}"):
            small_init.program()


@pytest.fixture
def older_kernel() -> Iterator[None]:
    """This process, and what it starts, is told that the kernel is a 2.6."""
    before = libc.personality(ctypes.c_ulong(0xFFFFFFFF))
    check(libc.personality(ctypes.c_ulong(before | _UNAME26)), "personality")
    yield
    libc.personality(ctypes.c_ulong(before))


@pytest.mark.usefixtures("older_kernel")
def test_an_older_kernel_is_refused_by_name_each_time(tmp_path: Path) -> None:
    async def scenario(spawner: Spawner) -> None:
        for _ in range(2):
            with pytest.raises(StartError, match=r"Linux 5.9 or newer, not 2\.6"):
                await worker_in(spawner, WORKER)

    with_spawner(tmp_path, scenario)


def test_what_cannot_be_made_leaves_no_file_and_can_be_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "init"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(platform, "machine", lambda: "riscv64")
        with pytest.raises(OSError, match="not on riscv64"):
            small_init.write(str(place))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "init.draft").touch()  # of one that was killed
    small_init.write(str(place))
    assert place.read_bytes() == small_init.program() and os.access(place, os.X_OK)
    assert list(tmp_path.iterdir()) == [place]
