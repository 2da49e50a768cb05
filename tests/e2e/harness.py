"""A home of a test's own, the programs that run in it, and a look at what they left behind.

Everything is found by parentage: the test process adopts what its descendants orphan, so whatever
else runs on the machine is neither seen nor touched.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import grpc
import psutil

import rekindle
from rekindle.paths import controller_socket, token_file
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import rekindle_pb2_grpc as pb_grpc
from rekindle.wire.messages import as_dict
from tests.e2e.leftovers import adopt_orphans, no_processes, nothing_but_what_is_kept
from tests.processes import descendants, shared_instances

#: Generous: a hang is a failure, a slow machine is not.
PATIENCE_S = 60.0
#: How long something that nobody announces may take to be seen.
_LOOK_S = 0.02

COMMAND = Path(sys.executable).with_name("rekindle")
#: Followed by a directory, a size and a command: see there.
SMALL_DISK = (sys.executable, str(Path(__file__).parents[1] / "small_disk.py"))
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it wrote."""

    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"status {self.status}\n--- out\n{self.out}\n--- err\n{self.err}"

    @property
    def value(self) -> Any:
        """The last line on standard output, as JSON."""
        return json.loads(self.out.splitlines()[-1])


class Program:
    """A program that runs, in a process group of its own, and its output as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: dict[str, list[str]] = {"out": [], "err": []}
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", process.stdout), ("err", process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._lines[name].append(line)
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def text(self, name: str = "out") -> str:
        """What it has written so far."""
        with self._news:
            return "".join(self._lines[name])

    def until(self, text: str, name: str = "out", times: int = 1) -> None:
        """Wait until it has written a line with ``text``, ``times`` times."""

        def said() -> bool:
            return sum(text in line for line in self._lines[name]) >= times

        with self._news:
            done = self._news.wait_for(
                lambda: said() or not any(reader.is_alive() for reader in self._readers),
                PATIENCE_S,
            )
            assert done and said(), f"never said {text!r} {times} times: {self._lines}"

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to its process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, timeout_s: float = PATIENCE_S) -> Ended:
        """Wait for its end; one that does not end says where its threads are."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # as PYTHONFAULTHANDLER has it
            self.process.wait(PATIENCE_S)
            for reader in self._readers:
                reader.join(1.0)  # what it started may hold its streams open
            raise AssertionError(
                f"it did not end: {self.process.args}\n--- out\n{self.text('out')}\n"
                f"--- err\n{self.text('err')}"
            ) from None
        for reader in self._readers:
            reader.join(timeout_s)
        return Ended(status, self.text("out"), self.text("err"))

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.kill()
        self.process.wait(PATIENCE_S)


@dataclass
class Home:
    """A rekindle home, a directory for scripts, and the environment of programs there."""

    root: Path
    environ: dict[str, str]
    #: What programs are started by: a launcher that makes them another user's.
    launcher: tuple[str, ...] = ()
    #: Name of the directory for scripts.
    place: str = "scripts"
    _programs: list[Program] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """REKINDLE_HOME."""
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        """TMPDIR of everything that is started here."""
        return self.root / "tmp"

    @property
    def scripts(self) -> Path:
        """Where scripts are; also the working directory of programs."""
        return self.root / self.place

    @property
    def daemon(self) -> Path:
        """The instance directory of ``rekindle up``."""
        return self.path / "daemon"

    def script(self, text: str, name: str = "script.py") -> Path:
        """Write a file."""
        file = self.scripts / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip())
        return file

    # ---- programs --------------------------------------------------------------------------

    def start(self, *argv: str | Path, **environ: str) -> Program:
        """Start a program; it is killed at the end of the test if it still runs."""
        program = Program(
            subprocess.Popen(
                [*self.launcher, *(str(word) for word in argv)],
                cwd=self.scripts,
                env={**self.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        self._programs.append(program)
        return program

    def start_rekindle(self, *argv: str | Path, **environ: str) -> Program:
        """Start the command line."""
        return self.start(COMMAND, *argv, **environ)

    def rekindle(self, *argv: str | Path, status: int | None = 0, **environ: str) -> Ended:
        """Run the command line to its end, which must be ``status`` (None: any)."""
        ended = self.start_rekindle(*argv, **environ).end()
        assert status is None or ended.status == status, str(ended)
        return ended

    def run(self, script: Path | str, *argv: str, status: int | None = 0, **environ: str) -> Ended:
        """``rekindle run``."""
        return self.rekindle("run", script, *argv, status=status, **environ)

    def python(self, *argv: str | Path, status: int | None = 0, **environ: str) -> Ended:
        """Run the interpreter."""
        ended = self.start(sys.executable, *argv, **environ).end()
        assert status is None or ended.status == status, str(ended)
        return ended

    # ---- the instance of `rekindle up` --------------------------------------------------------

    def up(self, **environ: str) -> psutil.Process:
        """``rekindle up``; the supervisor."""
        self.rekindle("up", **environ)
        return self.supervisor(environ.get("REKINDLE_HOME"))

    def supervisor(self, path: str | None = None) -> psutil.Process:
        """The supervisor of what is up in this home, or in another one."""
        daemon = Path(path) / "daemon" if path is not None else self.daemon
        return psutil.Process(int((daemon / "supervisor.pid").read_text()))

    def is_up(self) -> bool:
        """Whether ``rekindle up`` keeps an instance here."""
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            return self.supervisor().is_running()
        return False

    def status(self) -> dict[str, Any]:
        """What the controller tells of itself, by the names that ``rekindle status --json`` has.

        Asked by this process: who looks until something is so would have the processors busy with
        ever new programs.
        """
        metadata = (("authorization", f"Bearer {token_file(self.daemon).read_text().strip()}"),)
        with grpc.insecure_channel(f"unix:{controller_socket(self.daemon)}") as channel:
            ask = pb_grpc.ControllerStub(channel).Status  # type: ignore[no-untyped-call]
            request = pb.StatusRequest()
            reply = ask(request, metadata=metadata, wait_for_ready=True, timeout=PATIENCE_S)
        return as_dict(reply)

    def snapshots(self) -> list[dict[str, Any]]:
        """``rekindle snapshot ls --json``."""
        found: list[dict[str, Any]] = json.loads(self.rekindle("snapshot", "ls", "--json").out)
        return found

    def half_made(self) -> list[str]:
        """What is in the snapshot store and belongs to no snapshot that is whole."""
        store = self.path / "snapshots"
        left = [path for pattern in (".draft-*", ".trash-*") for path in store.glob(pattern)]
        left += store.rglob(".new-*")
        left += [path for path in store.glob(".content/*") if path.stat().st_nlink == 1]
        return [str(path) for path in left]

    def log(self, name: str) -> str:
        """The log of a process of what is up."""
        return (self.daemon / "logs" / f"{name}.log").read_text()

    @contextmanager
    def another_place(self) -> Iterator[Home]:
        """The same home and instance, with scripts and programs apart from all others."""
        place = f"scripts-{next(_numbers)}"
        (self.root / place).mkdir()
        made = Home(self.root, self.environ, self.launcher, place)
        try:
            yield made
        finally:
            made.end_programs()

    def end_programs(self) -> None:
        """Kill the programs that still run."""
        for program in self._programs:
            if program.process.poll() is None:
                program.kill()

    def close(self) -> None:
        """End what still runs here."""
        self.end_programs()
        if self.is_up():
            self.rekindle("down", status=None)


# ---- processes ---------------------------------------------------------------------------------


def wait_until(
    condition: Callable[[], Any],
    what: str,
    timeout_s: float = PATIENCE_S,
    *,
    state: Callable[[], object] | None = None,
) -> Any:
    """Wait for something that gives no event (a process, a file); what ``condition`` gave.

    ``state``: what a failure tells beside ``what``.
    """
    deadline = (began := time.monotonic()) + timeout_s
    while not (found := condition()):
        if (now := time.monotonic()) >= deadline:
            told = "" if state is None else f": {state()}"
            raise AssertionError(f"in vain waited for: {what}{told}")
        # Who looks by a program leaves the processor as long to what is waited for.
        time.sleep(max(_LOOK_S, now - began))
        began = time.monotonic()
    return found


def service(supervisor: psutil.Process, module: str) -> psutil.Process:
    """The process of an instance that runs a module: ``rekindle.controller``, say."""

    def find() -> psutil.Process | None:
        running: dict[int, psutil.Process] = {}
        for child in supervisor.children(recursive=True):
            with suppress(psutil.Error):
                if module in child.cmdline():
                    running[child.pid] = child
        for child in running.values():
            with suppress(psutil.Error):
                if child.ppid() not in running:  # what it forks has its command line
                    return child
        return None

    found: psutil.Process = wait_until(find, f"a process that runs {module}")
    return found


# ---- a gate ------------------------------------------------------------------------------------


class Gate:
    """Functions wait at it until the test opens it; then it stays open.

    ``SOURCE`` is what a script needs: ``wait_at(path)`` says ``waiting`` and waits.
    """

    SOURCE = """
import os, sys

def wait_at(path):
    with open(path + "/held", "a"):
        print("waiting", flush=True)
        fd = os.open(path + "/gate", os.O_RDONLY)
        os.read(fd, 1)
        os.close(fd)
"""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        os.mkfifo(directory / "gate")
        self.held = directory / "held"
        self._fd = -1

    def open(self) -> None:
        """Let everybody through, now and later."""
        self._fd = os.open(self.directory / "gate", os.O_RDWR | os.O_NONBLOCK)
        os.write(self._fd, b"." * 4096)

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


# ---- homes -------------------------------------------------------------------------------------


def plain_user(uid: int) -> tuple[str, ...]:
    """What to put before a command so that it runs as a user who is not root."""
    needed = {Path(sys.prefix), Path(sys.base_prefix), Path(rekindle.__file__).parents[1]}
    launcher = Path(__file__).parents[1] / "plain_user.py"
    return (sys.executable, str(launcher), str(uid), *map(str, sorted(needed)), "--")


@contextmanager
def a_home(uid: int | None = None, **environ: str) -> Iterator[Home]:
    """A home that is empty at first, and of which nothing that runs may be left.

    With ``uid`` (only as root) it and all programs there are that user's.
    """
    adopt_orphans()
    before = descendants()
    # A short path of its own: sockets must fit, and pytest's own paths grow with the test's name.
    root = Path(tempfile.mkdtemp(prefix="rk-e2e-"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REKINDLE_")}
    home = Home(root, kept)
    home.environ |= {
        "REKINDLE_HOME": str(home.path),
        "TMPDIR": str(home.temporary),
        "REKINDLE_LINGER": "0",
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "PYTHONFAULTHANDLER": "1",
        # A test edits a module faster than the whole seconds in a bytecode file can tell.
        "PYTHONDONTWRITEBYTECODE": "1",
        **environ,
    }
    if "REKINDLE_CRIU" in os.environ:
        home.environ["REKINDLE_CRIU"] = os.environ["REKINDLE_CRIU"]
    for directory in (home.scripts, home.temporary):
        directory.mkdir()
    if uid is not None:
        home.launcher = plain_user(uid)
        home.environ |= {"HOME": str(root), "USER": "plain", "LOGNAME": "plain"}
        for directory in (root, home.scripts, home.temporary):
            os.chown(directory, uid, uid)
    try:
        yield home
        home.close()
        no_processes(before)
        nothing_but_what_is_kept(home)
    finally:
        home.close()
        with suppress(AssertionError):
            no_processes(before)  # the test failed; its processes must not outlive it
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def a_shared_home(**environ: str) -> Iterator[Home]:
    """A home with an instance that is up, for tests that leave it as it is."""
    with a_home() as home:
        supervisor = home.up(**environ)
        shared_instances.append(supervisor)
        try:
            yield home
        finally:
            shared_instances.remove(supervisor)
        assert home.rekindle("down").out == "The instance is down.\n"
