"""What user code gave ``os.register_at_fork``, in real copies of real templates."""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import select
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from rekindle.runtime.agent.starts import template
from rekindle.wire.phases import Strategy, now_ns
from tests.processes import descendants
from tests.runtime.agent.harness import PATIENCE_S, Harness, run
from tests.runtime.agent.starts import copies

pytestmark = pytest.mark.criu


class Registers:
    """Handlers that note what they find."""

    def load(self) -> None:
        self.said: list[str] = []
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - stays open
        self.file.write(b"kept")
        self.file.flush()
        self.host, self.drawn = socket.gethostname(), random.random()

        def note(what: str) -> None:
            renewed = socket.gethostname() != self.host and random.random() != self.drawn
            found = os.pread(self.file.fileno(), 4, 0).decode()
            in_runner = "REKINDLE_RUNNER_ID" in os.environ
            self.said.append(f"{what}: {found if renewed and in_runner else 'in the template'}")

        def both(name: str) -> None:
            os.register_at_fork(
                before=lambda: note(f"before {name}"),
                after_in_parent=lambda: note(f"parent {name}"),
                after_in_child=lambda: note(f"child {name}"),
            )

        both("1")
        both("2")

    def once(self) -> list[str]:
        return self.said


def test_the_childs_handlers_run_once_in_each_copy_when_it_is_a_runner(home: Path) -> None:
    said = copies.say(home, Registers, "once")
    in_child = ["child 1: kept", "child 2: kept"]
    in_template = ["before 2: in the template", "before 1: in the template", *in_child]
    # What was frozen was forked for that alone: its runners are as if they were forked now.
    now = ["before 2: kept", "before 1: kept", *in_child]
    for kind, several in said.items():
        for one in several:
            assert one[-4:] == (now if kind.startswith("restore") else in_template), kind
            assert not any("child" in line for line in one[:-4]), kind


class Closes:
    """Handlers close what copies would be given anew, in the child or before the fork."""

    _where = "after_in_child"

    def load(self) -> None:
        self.file = open("/etc/hosts")  # noqa: SIM115 - stays open
        self.pipe = os.pipe()
        self.pair = socket.socketpair()
        self.event = os.eventfd(0)
        self.epoll = select.epoll()
        self.epoll.register(self.event)
        self.epoll.register(self.pipe[0])
        self.memory = mmap.mmap(-1, 1 << 16)
        self.kept = mmap.mmap(-1, 1 << 16)
        self.kept[:4] = b"kept"
        os.register_at_fork(**{self._where: self.close})

    def close(self) -> None:
        if self.file.closed:
            return
        self.file.close()
        os.close(self.pipe[0])
        os.close(self.event)
        self.pair[0].close()
        self.memory.close()

    def look(self) -> tuple[bool, bool, bytes, list[Any]]:
        return self.file.closed, self.memory.closed, self.kept[:4], self.epoll.poll(0)


class ClosesBefore(Closes):
    _where = "before"
    load, look = Closes.load, Closes.look


class ClosesInParent(Closes):
    _where = "after_in_parent"
    load, look = Closes.load, Closes.look


@pytest.mark.parametrize("code", [Closes, ClosesBefore, ClosesInParent])
def test_what_a_handler_closes_is_closed_and_all_else_is_there(home: Path, code: type) -> None:
    for kind, several in copies.say(home, code, "look").items():
        for closed, also, *rest in several:
            # A template that was never forked before has closed nothing yet.
            assert (closed and also) or (code is ClosesInParent and not (closed or also)), kind
            assert rest == [b"kept", []], kind


class Raises:
    def load(self) -> None:
        os.register_at_fork(after_in_child=lambda: 1 / 0)
        os.register_at_fork(after_in_child=self.exits)
        os.register_at_fork(after_in_child=self.last)

    def exits(self) -> None:
        raise SystemExit(3)

    def last(self) -> None:
        self.came = True

    def has_come(self) -> bool:
        return self.came


@pytest.mark.parametrize("strategy", ["fork", "restore", "spare"])
def test_what_a_handler_raises_is_told_as_python_tells_it_and_ends_nothing(
    home: Path, strategy: str
) -> None:
    async def scenario(h: Harness) -> None:
        raises = h.add(Raises, enable_memory_snapshot=True)
        prepared = await h.prepare(raises, strategy)
        assert prepared.ok, prepared.reason
        outcome = await h.call(raises, "has_come", strategy=strategy)
        assert outcome.value is True
        told = h.uplink.printed("stderr")
        assert sum("Exception ignored in" in line for line in told) == 2, told
        assert "ZeroDivisionError: division by zero" in told and "SystemExit: 3" in told

    run(home, scenario)


class HooksRaise:
    """What Python calls for errors that nobody takes raises itself, in all processes."""

    def load(self) -> None:
        def raises(*_: object) -> None:
            raise LookupError("of a hook")

        sys.unraisablehook = sys.excepthook = threading.excepthook = raises
        os.register_at_fork(before=raises, after_in_parent=raises, after_in_child=self.child)

    def child(self) -> None:
        self.came = True
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        raise ZeroDivisionError("of a handler")

    def has_come(self) -> bool:
        return self.came


@pytest.mark.parametrize("strategy", ["fork", "restore", "spare"])
def test_a_hook_for_errors_that_raises_itself_fails_no_start(home: Path, strategy: str) -> None:
    async def scenario(h: Harness) -> None:
        raises = h.add(HooksRaise, enable_memory_snapshot=True)
        prepared = await h.prepare(raises, strategy)
        assert prepared.ok, prepared.reason
        outcome = await h.call(raises, "has_come", strategy=strategy)
        assert outcome.value is True
        told = h.uplink.printed("stderr")
        assert "LookupError: of a hook" in told and "ZeroDivisionError: of a handler" in told

    run(home, scenario)


class Dies:
    def load(self) -> None:
        os.register_at_fork(after_in_child=lambda: os._exit(3))

    def pid(self) -> int:
        return os.getpid()


class ClosesAll:
    """As programs do that make themselves daemons."""

    def load(self) -> None:
        os.register_at_fork(after_in_child=lambda: os.closerange(3, 512))

    def pid(self) -> int:
        return os.getpid()


@pytest.mark.parametrize("code", [Dies, ClosesAll])
def test_where_each_copy_ends_a_process_is_booted_and_soon_none_is_copied(
    home: Path, code: type
) -> None:
    async def scenario(h: Harness) -> None:
        dies = h.add(code, enable_memory_snapshot=True)

        assert (await h.call(dies, "pid")).value > 0
        for runner in h.runners(dies):
            (note,) = runner.notes
        assert note.startswith("fork passed over: the runner died while it started")

        async def start() -> list[str]:
            runner = await h.node.inventory.pools[(dies, "")].starter.start(None, now_ns())
            assert runner.strategy is Strategy.COLD
            runner.kill("its notes are known")
            return [note for note in runner.notes if not note.startswith("spare")]

        prepared = await h.prepare(dies, "restore")
        assert prepared.ok, prepared.reason
        notes = await start()
        assert [note.partition(":")[0] for note in notes] == [
            "fork passed over",
            "restore passed over",
        ]
        revision = h.revision(dies)
        assert "2 runners forked from its template ended in a row" in revision.why_no_fork()
        assert revision.live_template() is None
        notes = await start()  # no fork any more
        assert "2 runners forked from its template ended in a row" in notes[0]
        assert notes[1].startswith("restore passed over")
        assert "2 runners restored from its snapshot ended in a row" in revision.why_no_restore()
        notes = await start()  # no copy at all
        assert [note.partition(" ended in a row")[0] for note in notes] == [
            "fork passed over: 2 runners forked from its template",
            "restore passed over: 2 runners restored from its snapshot",
        ]
        told = [line for line in h.uplink.printed("system") if "started otherwise" in line]
        assert len(told) == 2  # once for each

    run(home, scenario)


#: The name of a process.
_WAITS = "copy-waits"


class WaitsInChild:
    """A copy that is on its way until it is killed, while a file is there."""

    def load(self) -> None:
        os.register_at_fork(after_in_child=self.child)

    def child(self) -> None:
        if os.path.exists(os.environ["MARK"]):
            Path("/proc/self/comm").write_text(_WAITS)  # a restored template prints nothing
            signal.pause()

    pid = Dies.pid


@pytest.mark.parametrize("strategy", ["fork", "restore"])
def test_copies_that_are_killed_for_want_of_memory_are_made_all_the_same(
    home: Path, tmp_path: Path, strategy: str
) -> None:
    async def scenario(h: Harness) -> None:
        mark = tmp_path / "mark"
        if strategy == "fork":
            h.node.context.criu = None  # or there would be another way to start
        killed = h.add(
            WaitsInChild,
            enable_memory_snapshot=True,
            spare_containers=0,
            env={"MARK": str(mark)},
        )
        prepared = await h.prepare(killed, strategy)
        assert prepared.ok, prepared.reason
        revision = h.revision(killed)
        if strategy == "restore":
            revision.fork_unsafe = ["only restores are looked at"]
            revision.drop_template()
        starter = h.node.inventory.pools[(killed, "")].starter
        mark.touch()
        for _ in range(3):
            starting = asyncio.create_task(starter.start(None, now_ns()))
            (copy,) = await h.uplink.until(_that_wait)
            copy.kill()  # as the kernel does it
            runner = await starting
            assert runner.strategy is Strategy.COLD
            assert f"{strategy} passed over: the runner died while it started" in runner.notes[0]
            assert "SIGKILL" in runner.notes[0]
            runner.kill("its notes are known")
        mark.unlink()
        assert (await h.call(killed, "pid", strategy=strategy)).value > 0

    run(home, scenario)


class WaitsBefore:
    """A template that is about to fork until it is killed, while a file is there."""

    def load(self) -> None:
        os.register_at_fork(before=self.child)

    child = WaitsInChild.child
    pid = Dies.pid


@pytest.mark.parametrize("kind", ["booted", "restored"])
def test_templates_that_are_killed_for_want_of_memory_as_they_fork_are_forked_all_the_same(
    home: Path, tmp_path: Path, kind: str
) -> None:
    async def scenario(h: Harness) -> None:
        mark = tmp_path / "mark"
        if kind == "booted":
            h.node.context.criu = None
        killed = h.add(
            WaitsBefore,
            enable_memory_snapshot=True,
            spare_containers=0,
            env={"MARK": str(mark)},
        )
        for _ in range(3):
            prepared = await h.prepare(killed, "fork" if kind == "booted" else "restore")
            assert prepared.ok, prepared.reason
            revision, starter = h.revision(killed), h.node.inventory.pools[(killed, "")].starter
            if kind == "restored":
                await starter.restore_template()
            assert revision.live_template().mapped is (kind == "restored")
            mark.touch()
            starting = asyncio.create_task(starter.start(None, now_ns()))
            (waits,) = await h.uplink.until(_that_wait)
            mark.unlink()
            assert waits.pid == revision.live_template().channel.pid
            waits.kill()  # as the kernel does it
            runner = await starting
            assert "fork passed over: template" in runner.notes[0], runner.notes
            runner.kill("its notes are known")
        assert not revision.dying.why_not(Strategy.FORK)

    run(home, scenario)


def _that_wait() -> list[psutil.Process]:
    return [one for one in descendants() if _name_of(one) == _WAITS]


def _name_of(process: psutil.Process) -> str:
    try:
        return Path(f"/proc/{process.pid}/comm").read_text().strip()
    except OSError:
        return ""  # it has ended


class DiesOnce:
    """One copy in three ends."""

    def load(self) -> None:
        self.forks = 0

        def forked() -> None:
            self.forks += 1

        def child() -> None:
            if self.forks % 3 == 1:
                os._exit(3)

        os.register_at_fork(before=forked, after_in_child=child)

    pid = Dies.pid


def test_copies_that_end_now_and_then_are_made_all_the_same(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        h.node.context.criu = None  # or there would be another way to start
        dies = h.add(DiesOnce, enable_memory_snapshot=True)
        outcome = await h.call(dies, "pid")
        strategies = [outcome.strategy]
        starter = h.node.inventory.pools[(dies, "")].starter
        for _ in range(8):
            runner = await starter.start(None, now_ns())
            strategies.append(runner.strategy.value)
            runner.kill("its strategy is known")
        copies = strategies.count("fork") + strategies.count("spare")  # made ahead
        assert strategies.count("cold") > 2 and copies > 2, strategies
        assert h.revision(dies).live_template() is not None

    run(home, scenario)


class HangsInChild:
    """Each copy hangs, in a handler."""

    def load(self) -> None:
        os.register_at_fork(after_in_child=signal.pause)

    pid = Dies.pid


@pytest.mark.parametrize("spares", [0, 1])
def test_where_copies_hang_in_a_handler_a_process_is_booted_and_soon_none_is_forked(
    home: Path, monkeypatch: pytest.MonkeyPatch, spares: int
) -> None:
    monkeypatch.setattr(template, "FORK_TIMEOUT_S", 3.0)

    async def scenario(h: Harness) -> None:
        h.node.context.criu = None
        hangs = h.add(HangsInChild, enable_memory_snapshot=True, spare_containers=spares)
        outcome = await h.call(hangs, "pid")
        assert outcome.value > 0 and outcome.strategy == "cold"
        (note,) = outcome.result.notes
        assert note.startswith("fork passed over: the runner was not past its fork in 3 s")
        assert "os.register_at_fork" in note
        living = h.revision(hangs).live_template()
        starter = h.node.inventory.pools[(hangs, "")].starter
        if spares:
            await h.uplink.until(lambda: living.spares.waiting)
        runner = await starter.start(None, now_ns())
        assert runner.strategy is Strategy.COLD
        assert any(note.startswith("spare passed over") for note in runner.notes) is bool(spares)
        assert (
            "2 runners forked from its template ended in a row" in h.revision(hangs).why_no_fork()
        )
        await h.uplink.until(living.gone.is_set)
        await h.uplink.until(lambda: not living._children)  # those that hung are killed

    run(home, scenario)


class Hangs:
    """A template that answers no more once it is forked."""

    def load(self) -> None:
        import signal

        os.register_at_fork(before=signal.pause)

    pid = Dies.pid


def test_where_a_template_hangs_as_it_forks_a_process_is_booted_and_soon_none_is_forked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "FORK_TIMEOUT_S", 0.5)
    monkeypatch.setattr(template, "EXIT_TIMEOUT_S", 0.5)

    async def scenario(h: Harness) -> None:
        h.node.context.criu = None
        hangs = h.add(Hangs, enable_memory_snapshot=True)
        outcome = await h.call(hangs, "pid")
        assert outcome.value > 0 and outcome.strategy == "cold"
        (note,) = outcome.result.notes
        assert note.startswith("fork passed over: template") and "did not fork in 0.5 s" in note
        hanging = h.revision(hangs).live_template()
        starter = h.node.inventory.pools[(hangs, "")].starter
        for _ in range(2):
            runner = await starter.start(None, now_ns())
            assert runner.strategy is Strategy.COLD
            runner.kill("its notes are known")
        assert "2 runners forked from its template ended in a row" in runner.notes[0]
        # Nor does it go as it is told to.
        async with asyncio.timeout(PATIENCE_S):
            assert await hanging.exit_status == -signal.SIGKILL

    run(home, scenario)
