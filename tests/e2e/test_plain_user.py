"""A user who is not root: every start, its isolation, and one clear error where it cannot be.

Root's suite runs these as an id that nobody has; a plain user's as itself.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import plain_user
from tests.e2e.harness import COMMAND, Home, a_home, service
from tests.e2e.shown_phases import phases

_MODEL = """
    import os, socket, subprocess
    import rekindle

    app = rekindle.App("plain")

    def capabilities():
        with open("/proc/self/status") as status:
            return {line.split(":")[0]: int(line.split()[1], 16)
                    for line in status if line.startswith("Cap")}

    @app.cls(enable_memory_snapshot=True)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            self.in_template = capabilities()

        @rekindle.method()
        def look(self, path: str):
            with open(path, "w") as file:
                file.write("mine")
            own = os.stat(path)
            return {
                "uid": os.getuid(), "gid": os.getgid(), "owner": own.st_uid,
                "capabilities": capabilities(), "in_template": self.in_template,
                "hostname": socket.gethostname(),
                "init": open("/proc/1/cmdline").read(),
                "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
                "namespaces": {kind: os.readlink(f"/proc/self/ns/{kind}")
                               for kind in ("user", "pid", "mnt", "uts", "ipc")},
                "child": subprocess.check_output(["id", "-u"], text=True).strip(),
            }

        @rekindle.method()
        def size(self) -> int:
            return 7

    @app.function()
    def cold(path: str):
        return capabilities()

    @app.local_entrypoint()
    def main(path: str):
        import json
        print(json.dumps({"model": Model().look.remote(path), "cold": cold.remote(path)}))
"""


@pytest.fixture
def plain() -> Iterator[Home]:
    """A home of a user who is not root."""
    uid = os.geteuid()
    with a_home(61000 + os.getpid() % 1000 if uid == 0 else None) as made:
        yield made


def _uid(home: Home) -> int:
    return home.root.stat().st_uid


def _look(home: Home, script: Path, name: str) -> dict[str, object]:
    found: dict[str, object] = home.run(script, "--path", str(home.scripts / name)).value
    return found


@pytest.mark.criu
@pytest.mark.needs_root("maps itself to the root of a user namespace")
def test_root_of_a_user_namespace_alone_has_snapshots_and_restores(home: Home) -> None:
    """As of `unshare --user --map-root-user`: its other namespaces are the machine's."""
    line = ("unshare", "--user", "--map-root-user", COMMAND)
    reference = f"{home.script(_MODEL)}::Model.size"
    for strategy in ("cold", "restore"):
        ended = home.start(*line, "run", reference, "--phases").end()
        assert ended.status == 0 and ended.out.startswith("7\n"), str(ended)
        assert phases(ended.out, "Model.size")[0][0] == strategy, str(ended)
    assert len(home.snapshots()) == 1


@pytest.mark.criu
def test_functions_run_isolated_as_that_user_without_capabilities(plain: Home) -> None:
    script = plain.script(_MODEL)
    forked = _look(plain, script, "first")
    restored = _look(plain, script, "second")
    seen_here = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "pid", "mnt")}
    for answer in (forked, restored):
        model = answer["model"]
        assert isinstance(model, dict)
        uid = _uid(plain)
        assert (model["uid"], model["owner"], model["child"]) == (uid, uid, str(uid))
        for mask in (model["capabilities"], answer["cold"]):
            assert isinstance(mask, dict)
            held = {name: value for name, value in mask.items() if name != "CapBnd"}
            assert not any(held.values()), held
        # In a template, what forking takes is set aside: nothing uses it, no child gets it.
        assert not model["in_template"]["CapEff"] and not model["in_template"]["CapAmb"]
        assert model["hostname"].startswith("ru-")
        assert len(model["processes"]) <= 3  # init, itself, its child
        for kind, name in seen_here.items():
            assert model["namespaces"][kind] != name
    (snapshot,) = plain.snapshots()
    assert snapshot["valid"] is True


@pytest.mark.criu
def test_every_strategy_can_be_taken(plain: Home) -> None:
    script = plain.script(_MODEL)
    figures = plain.scripts / "figures.json"
    plain.rekindle("bench", f"{script}::Model.size", "--runs", "2", "--json", figures)
    measured = {one["strategy"]: one for one in json.loads(figures.read_text())["results"]}
    assert set(measured) == {"cold", "restore", "fork", "warm"}
    assert all(len(one["runs"]) == 2 for one in measured.values())


def test_an_instance_is_kept_and_nothing_outlives_it_or_its_agent(plain: Home) -> None:
    supervisor = plain.up()
    assert supervisor.uids().real == _uid(plain)
    for secret in (plain.daemon / "token", plain.daemon, plain.daemon / "agent.sock"):
        assert stat.S_IMODE(secret.stat().st_mode) & 0o077 == 0
    script = plain.script(_MODEL)
    plain.run(script, "--path", str(plain.scripts / "file"))
    agent = service(supervisor, "rekindle.runtime.agent")
    below = agent.children(recursive=True)
    assert len(below) >= 2  # the spawner, and the first process of its PID namespace
    assert any("spawner" in " ".join(process.cmdline()) for process in below)
    os.kill(agent.pid, signal.SIGKILL)
    _gone, left = psutil.wait_procs(below, timeout=60)
    assert not left
    plain.run(script, "--path", str(plain.scripts / "file"))  # by the next agent
    everything = supervisor.children(recursive=True)
    assert plain.rekindle("down").out == "The instance is down.\n"
    _gone, left = psutil.wait_procs(everything, timeout=60)
    assert not left


def test_nothing_is_left_when_the_instance_ends_right_after_its_agent(plain: Home) -> None:
    supervisor = plain.up()
    plain.run(plain.script(_MODEL), "--path", str(plain.scripts / "file"))
    agent = service(supervisor, "rekindle.runtime.agent")
    assert list(plain.daemon.glob("agent-*"))
    os.kill(agent.pid, signal.SIGKILL)
    supervisor.terminate()  # before the next agent is there
    psutil.wait_procs([supervisor], timeout=60)
    assert not list(plain.daemon.glob("agent-*"))


def test_an_interrupt_leaves_nothing(plain: Home) -> None:
    script = plain.script(
        """
        import time
        import rekindle

        app = rekindle.App("waits")

        @app.function()
        def wait():
            print("waiting", flush=True)
            while True:
                time.sleep(1)

        @app.local_entrypoint()
        def main():
            wait.remote()
        """
    )
    program = plain.start_rekindle("run", script)
    program.until("waiting")
    program.interrupt()
    ended = program.end()
    assert ended.status == 130, str(ended)
    assert "Traceback" not in ended.err  # the fixture looks at what is left


_WITHOUT_USER_NAMESPACES = """
import os, sys
from rekindle.linux import capabilities, namespaces
# The limit is each user namespace's own: in one of ours it may be lowered.
namespaces.enter_user_namespace()
with open("/proc/sys/user/max_user_namespaces", "w") as limit:
    limit.write("0")
capabilities.drop()
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_where_user_namespaces_are_off_one_error_says_so(plain: Home) -> None:
    before = plain.script(_WITHOUT_USER_NAMESPACES, "without.py")
    hello = plain.script(_MODEL)
    ended = plain.python(before, COMMAND, "run", hello, "--path", "x", status=1)
    assert ended.out == ""
    assert "user.max_user_namespaces is 0" in ended.err
    assert "sudo sysctl -w user.max_user_namespaces=" in ended.err
    assert "IsolationError" in ended.err
    assert "Traceback" not in ended.err and ".log" not in ended.err

    report = json.loads(plain.python(before, COMMAND, "doctor", "--json", status=1).out)
    assert report["works"] == []
    (found,) = [check for check in report["checks"] if check["name"] == "namespaces"]
    assert found["status"] == "fail" and "max_user_namespaces is 0" in found["detail"]
    assert found["remedy"].startswith("sudo sysctl -w")


def test_doctor_leads_with_what_works(plain: Home) -> None:
    first = plain.rekindle("doctor").out.splitlines()[0]
    assert first == (
        f"Works here (uid {_uid(plain)}, by user namespaces): cold starts, forks, restores."
    )


_SHARING = """
    import fcntl, mmap, multiprocessing, os, tempfile
    from multiprocessing import shared_memory
    import rekindle

    app = rekindle.App("sharing")
    LOCK = multiprocessing.Lock()
    COUNT = multiprocessing.Value("i", 41)

    @app.cls(enable_memory_snapshot=True, max_containers=1)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            from tqdm import tqdm
            list(tqdm([1, 2], disable=True))
            tqdm.get_lock()  # its locks are a multiprocessing one and one of threads
            self.bar = tqdm
            self.pages = mmap.mmap(-1, 1 << 20)
            self.pages[:5] = b"pages"
            self.named = shared_memory.SharedMemory(create=True, size=4096)
            self.named.buf[:5] = b"named"
            self.unlinked = tempfile.TemporaryFile()
            self.unlinked.write(b"unlinked" * 1000)
            self.unlinked.flush()
            self.mapped = mmap.mmap(self.unlinked.fileno(), 0)
            memory = os.memfd_create("private")
            os.write(memory, b"private" + bytes(4089))
            self.private = mmap.mmap(memory, 4096, flags=mmap.MAP_PRIVATE)
            self.private[10:12] = b"up"
            os.close(memory)
            self.sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
            os.truncate(self.sealed, 4096)
            self.writable = mmap.mmap(self.sealed, 4096)
            fcntl.fcntl(self.sealed, 1033, 0x10)  # F_ADD_SEALS, F_SEAL_FUTURE_WRITE

        @rekindle.method()
        def look(self):
            with LOCK, COUNT.get_lock(), self.bar.get_lock():
                COUNT.value += 1
            other = shared_memory.SharedMemory(self.named.name)
            self.named.buf[5] += 1
            seen = other.buf[5]
            self.mapped[0:1] = b"U"
            self.writable[0] += 1
            sealed = [os.pread(self.sealed, 1, 0)[0], fcntl.fcntl(self.sealed, 1034)]
            found = [COUNT.value, bytes(self.pages[:5]).decode(), bytes(other.buf[:5]).decode(),
                     seen, os.pread(self.unlinked.fileno(), 9, 0).decode(),
                     self.private[:12].decode(errors="replace"), len(self.pages), *sealed]
            other.close()
            return found

    @app.local_entrypoint()
    def main():
        import json
        print(json.dumps([Model().look.remote(), Model().look.remote()]))
"""


@pytest.mark.criu
def test_shared_memory_and_deleted_files_are_restored(plain: Home) -> None:
    script = plain.script(_SHARING)
    first = plain.run(script)
    restored = plain.rekindle("run", "--strategy", "restore", script)
    # One runner for both calls at first; then each call has a restored copy of its own.
    for ended, counts in ((first, (42, 43)), (restored, (42, 42))):
        assert ended.value == [
            [count, "pages", "named", count - 41, "Unlinkedu", "private\0\0\0up", 1 << 20]
            + [count - 41, 0x10]  # F_SEAL_FUTURE_WRITE
            for count in counts
        ]


@pytest.mark.parametrize(
    ("words", "status"), [(["--help"], 0), ([], 1), (["x", "--", "true"], 1), (["1", "--"], 1)]
)
def test_the_script_for_plain_users_says_what_it_takes(words: list[str], status: int) -> None:
    argv = [sys.executable, str(plain_user.__file__), *words]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == status, ended
    assert "UID DIRECTORY... -- COMMAND..." in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
