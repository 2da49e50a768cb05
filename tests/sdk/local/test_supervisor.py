"""The supervisor: starts, restarts, gives up, ends in order, and goes with its parent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.exception import SetupError
from rekindle.linux.plain_descriptors import readable
from rekindle.sdk.local import directory as instance
from rekindle.wire.ready import AWAY_STATUS, REFUSED, REFUSED_STATUS
from tests.sdk.local.waiting import until

_HARNESS = """
import os, sys
from pathlib import Path
from rekindle.sdk.local import supervisor, directory
from rekindle.sdk.local.services import Service
from rekindle.wire import logs
from rekindle.linux.processes import die_with_parent
logs.configure("supervisor")
where = Path(sys.argv[1])
parent = int(sys.argv[2]) or None
directory.prepare(where)
lock = directory.claim(where)
supervisor.MAX_QUICK_DEATHS = 3
if os.environ.get("SHORT_LOGS"):
    supervisor._MAX_WAIT_S, supervisor.kept_logs.MOST_BYTES = 0.01, 100_000
services = [
    Service(name, (sys.executable, "-c", code), 5.0)
    for name, code in zip(sys.argv[3::2], sys.argv[4::2])
]
sys.exit(supervisor.Supervisor(where, services, parent, sys.stdout).run())
"""

#: A well-behaved service: says its pid, is ready, notes when it is told to end.
_GOOD = """
import os, signal, sys, time
from rekindle.linux.processes import die_with_parent
die_with_parent()
name = {name!r}
def end(*_):
    open({events!r}, "a").write(f"end {{name}}\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
open({events!r}, "a").write(f"start {{name}} {{os.getpid()}}\\n")
print("ready", flush=True)
while True:
    signal.pause()
"""


class Harness:
    """A supervisor in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.events_file = directory / "events"
        self.events_file.touch()
        self.process: subprocess.Popen[str] | None = None

    def start(self, *services: tuple[str, str], parent: int = 0) -> None:
        arguments = [part for service in services for part in service]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HARNESS, str(self.directory), str(parent), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )

    def good(self, name: str) -> tuple[str, str]:
        return name, _GOOD.format(name=name, events=str(self.events_file))

    def line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        assert readable([self.process.stdout.fileno()], 60)
        return self.process.stdout.readline().strip()

    def events(self) -> list[str]:
        return self.events_file.read_text().splitlines()

    def pids(self, name: str) -> list[int]:
        return [int(e.split()[2]) for e in self.events() if e.startswith(f"start {name} ")]

    def end(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def harness() -> Iterator[Harness]:
    with tempfile.TemporaryDirectory(prefix="rk-sup-") as name:
        made = Harness(Path(name))
        yield made
        if made.process is not None:
            made.process.kill()
            made.process.wait()
            assert made.process.stdout is not None
            made.process.stdout.close()


def test_it_is_ready_when_all_are_and_ends_them_in_reverse_order(harness: Harness) -> None:
    harness.start(*(harness.good(name) for name in ("redis", "controller", "agent")))
    assert harness.line() == "ready"
    assert harness.end() == 0
    assert [e for e in harness.events() if e.startswith("end")] == [
        "end agent",
        "end controller",
        "end redis",
    ]


def test_what_dies_is_started_again(harness: Harness) -> None:
    harness.start(harness.good("controller"), harness.good("agent"))
    assert harness.line() == "ready"
    os.kill(harness.pids("agent")[0], signal.SIGKILL)
    until(lambda: len(harness.pids("agent")) == 2)
    assert len(harness.pids("controller")) == 1
    assert harness.end() == 0


def test_it_gives_up_on_what_does_not_stay_up_and_says_why(harness: Harness) -> None:
    code = "import sys; sys.exit('no such option: --fish')"
    harness.start(harness.good("controller"), ("agent", code))
    assert harness.line().startswith("failed: the agent died 3 times")
    assert "no such option: --fish" in harness.line()
    assert harness.process is not None
    assert harness.process.wait(60) == 1
    assert not alive(harness.pids("controller")[0])


def test_a_limit_that_ends_one_again_and_again_is_named(harness: Harness) -> None:
    code = (
        "import resource, threading; resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20)); "
        "threading.Thread(target=print).start()"
    )
    harness.start(("agent", code))
    said = harness.line()
    assert said.startswith("failed: the agent died 3 times"), said
    assert "threads can be started (can't start new thread): raise the limit" in said


def test_what_cannot_run_here_is_not_tried_again_and_its_reason_is_told(harness: Harness) -> None:
    code = textwrap.dedent(f"""
        open({str(harness.events_file)!r}, "a").write("start agent 1\\n")
        print("refused: switched off. To do: switch it on", flush=True)
        raise SystemExit({REFUSED_STATUS})
        """)
    harness.start(harness.good("controller"), ("agent", code))
    assert harness.line() == f"{REFUSED}switched off. To do: switch it on"
    assert harness.process is not None
    assert harness.process.wait(60) == 1
    assert len(harness.pids("agent")) == 1
    assert not any(alive(pid) for pid in harness.pids("controller"))


def test_what_does_not_end_is_killed(harness: Harness) -> None:
    code = textwrap.dedent(f"""
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open({str(harness.events_file)!r}, "a").write(f"start deaf {{os.getpid()}}\\n")
        print("ready", flush=True)
        time.sleep(100)
        """)
    harness.start(("deaf", code))
    assert harness.line() == "ready"
    assert harness.end() == 0
    assert not alive(harness.pids("deaf")[0])


def test_it_ends_when_its_directory_is_removed(harness: Harness) -> None:
    harness.start(harness.good("controller"), harness.good("agent"))
    assert harness.line() == "ready"
    pids = harness.pids("controller") + harness.pids("agent")
    until(lambda: _removed(harness.directory))  # they may be making files in it just then
    assert harness.process is not None
    assert harness.process.wait(60) == 1
    assert len(pids) == 2 and not any(alive(pid) for pid in pids)


def _removed(directory: Path) -> bool:
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


def test_its_children_die_with_it(harness: Harness) -> None:
    harness.start(harness.good("agent"))
    assert harness.line() == "ready"
    assert harness.process is not None
    harness.process.kill()
    harness.process.wait()
    until(lambda: not alive(harness.pids("agent")[0]))


def test_a_private_one_ends_with_its_parent(harness: Harness) -> None:
    script = textwrap.dedent("""
        import subprocess, sys
        harness, directory, name, code = sys.argv[1:]
        import os
        command = [sys.executable, "-c", harness, directory, str(os.getpid()), name, code]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        child.stdout.readline()
        os.kill(os.getpid(), 9)
        """)
    subprocess.run(
        [sys.executable, "-c", script, _HARNESS, str(harness.directory), *harness.good("agent")],
        timeout=60,
    )
    until(lambda: "end agent" in harness.events())
    until(lambda: instance.supervisor_pid(harness.directory) is None)


def test_an_instance_has_one_supervisor(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.start(harness.good("agent"))
    assert harness.line() == "ready"
    assert harness.process is not None
    assert instance.supervisor_pid(harness.directory) == harness.process.pid
    monkeypatch.setattr(instance, "_LOCK_PATIENCE_S", 0.05)
    with pytest.raises(SetupError, match=r"runs in .* already"):
        instance.claim(harness.directory)
    harness.end()
    assert instance.supervisor_pid(harness.directory) is None
    os.close(instance.claim(harness.directory))


def test_the_directory_is_private_and_its_token_is_kept(tmp_path: Path) -> None:
    where = tmp_path / "d"
    instance.prepare(where)
    token = (where / "token").read_text()
    assert len(token) > 30
    assert where.stat().st_mode & 0o777 == 0o700
    assert (where / "token").stat().st_mode & 0o777 == 0o600
    instance.prepare(where)
    assert (where / "token").read_text() == token


def test_directories_of_killed_supervisors_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path))
    for name in ("rk-dead", "rk-live", "rk-new", "rk-opened"):
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / "rk-dead" / "supervisor.pid").write_text("1\n")
    (tmp_path / "run" / "rk-opened" / "supervisor.pid").touch()  # its lock comes next
    lock = instance.claim(tmp_path / "run" / "rk-live")
    instance.sweep()
    os.close(lock)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        *("rk-live", "rk-new", "rk-opened")
    ]


def _lacking(harness: Harness, also: str = "") -> tuple[str, str]:
    """A controller whose Redis is away; ``also`` runs before it says so."""
    return "controller", textwrap.dedent(f"""
        import os
        file = {str(harness.events_file)!r}
        open(file, "a").write(f"start controller {{os.getpid()}}\\n")
        {also}
        print("away: the Redis at X cannot be used", flush=True)
        raise SystemExit({AWAY_STATUS})
        """)


def test_a_start_without_its_redis_ends_at_once_with_the_reason(harness: Harness) -> None:
    harness.start(_lacking(harness), harness.good("agent"))
    assert harness.line() == "failed: the Redis at X cannot be used"
    assert harness.process is not None
    assert harness.process.wait(60) == 1
    assert len(harness.pids("controller")) == 1
    assert not any(alive(pid) for pid in harness.pids("agent"))


def test_an_instance_that_was_up_waits_for_its_redis(harness: Harness) -> None:
    first = """
        if open(file).read().count("start controller") == 1:
            print("ready", flush=True)
            import time; time.sleep(100)
        """.strip()
    harness.start(_lacking(harness, first), harness.good("agent"))
    assert harness.line() == "ready"
    os.kill(harness.pids("controller")[0], signal.SIGKILL)
    until(lambda: len(harness.pids("controller")) == 6)  # more than the 3 quick deaths
    assert harness.end() == 0


_TALKS = """
import sys
from rekindle.linux.processes import die_with_parent
die_with_parent()
print("ready", flush=True)
for number in range(1 << 40):
    sys.stderr.write(f"line {number:0100d}\\n")
"""


def test_the_log_of_a_process_that_runs_for_ever_has_an_end(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT_LOGS", "1")
    harness.start(("talks", _TALKS))
    assert harness.line() == "ready"
    file = instance.logs_dir(harness.directory) / "talks.log"
    before = file.with_name("talks.log.1")
    seen: set[int] = set()

    def began() -> bool:
        if before.exists():
            seen.add(int(before.read_text().partition("\n")[0].split()[-1]))
        return len(seen) > 2

    until(began)
    assert harness.end() == 0
    assert {one.name for one in file.parent.iterdir()} == {"talks.log", "talks.log.1"}
