"""Real processes for tests of snapshots: boot a template, dump it, restore copies.

Small and independent of how rekindle itself isolates processes: what is tested here is the room
that deals with CRIU and its images.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rekindle.linux.plain_descriptors import readable
from rekindle.snapshot import command
from rekindle.snapshot.criu import Criu
from tests.snapshot.namespace_init import RESTORE_CONTROL, TEMPLATE_CONTROL

_WAIT_S = 60.0
_INIT = Path(__file__).with_name("namespace_init.py")
_ROOT = Path(__file__).parents[2]

#: What a test's template does after its own code: say that it is parked, then answer on request.
#: A request is the path of a FIFO; what the template's ``answer()`` returns is written to it.
_PARK = """
import os as _os
with open({ready!r}, "w") as _ready:
    _ready.write("parked")
while True:
    _line = b""
    while not _line.endswith(b"\\n"):
        _byte = _os.read(3, 1)
        if not _byte:
            _os._exit(0)
        _line += _byte
    _text = str(answer())
    with open(_line.decode().strip(), "w") as _out:
        _out.write(_text)
"""


class Died(AssertionError):
    """The process behind a FIFO did not write to it."""


@dataclass
class Namespaces:
    """New PID, mount, UTS and IPC namespaces with an init that runs commands in them."""

    init: subprocess.Popen[str]
    control_pipe: int  # the write end of the pipe that the process inside reads requests from
    scratch: Path

    def run(self, argv: list[str], fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        reply = self._ask({"argv": argv, "fds": fds, "detached": False, "timeout_s": _WAIT_S})
        return subprocess.CompletedProcess(argv, reply["rc"], reply["out"], reply["err"])

    def start(self, argv: list[str], fds: tuple[int, ...] = ()) -> int:
        """Start a command inside; its PID there."""
        return int(self._ask({"argv": argv, "fds": fds, "detached": True})["pid"])

    def answer(self) -> str:
        """What the template's ``answer()`` returns in the process that holds the control pipe."""
        fifo = self.scratch / f"answer-{os.urandom(6).hex()}"
        with _fifo(fifo) as reader:
            os.write(self.control_pipe, f"{fifo}\n".encode())
            return _read_fifo(reader)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.init.stdin and self.init.stdout
        self.init.stdin.write(json.dumps(request) + "\n")
        self.init.stdin.flush()
        line = self.init.stdout.readline()
        if not line:
            raise Died("the namespaces' init ended")
        return dict(json.loads(line))


@contextlib.contextmanager
def namespaces(
    *, run_dir: Path | None = None, tmpfs: dict[Path, str] | None = None, first_pid: int = 100
) -> Iterator[Namespaces]:
    """Namespaces for the time of the block; all that is in them ends with it.

    ``run_dir`` is bound over /run, ``tmpfs`` maps mount points to mount options.
    """
    read_end, write_end = os.pipe()
    mounts = json.dumps({str(path): options for path, options in (tmpfs or {}).items()})
    init = subprocess.Popen(
        [
            sys.executable,
            "-S",
            str(_INIT),
            str(read_end),
            str(first_pid),
            str(run_dir or ""),
            mounts,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=(read_end,),
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    os.close(read_end)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            assert init.stdout
            assert init.stdout.readline(), "the namespaces' init did not start"
            yield Namespaces(init, write_end, Path(scratch))
    finally:
        os.close(write_end)
        assert init.stdin and init.stdout
        init.stdin.close()
        ended = os.pidfd_open(init.pid)
        in_time = readable([ended], _WAIT_S)
        os.close(ended)
        init.kill()
        init.wait()
        init.stdout.close()
        assert in_time, "the namespaces' init did not end"


@dataclass
class Template:
    """A parked process inside namespaces, ready to be dumped."""

    inside: Namespaces
    pid: int
    control_pipe: str
    criu: Criu
    environment: dict[str, str] = field(default_factory=dict)

    def dump(self, images: Path, *, leave_running: bool = True) -> subprocess.CompletedProcess[str]:
        """Freeze it into ``images``; the status tells whether that worked."""
        argv = command.dump_argv(self.criu, pid=self.pid, images_dir=images)
        return self.inside.run([*argv, "--leave-running"] if leave_running else argv)


@contextlib.contextmanager
def template(
    criu: Criu,
    code: str = "def answer(): return 'hello'",
    *,
    tmpfs: dict[Path, str] | None = None,
    first_pid: int = 100,
) -> Iterator[Template]:
    """Boot Python on ``code``, which defines ``answer()``, and wait until it has parked."""
    with namespaces(tmpfs=tmpfs, first_pid=first_pid) as inside:
        ready = inside.scratch / "ready"
        program = inside.scratch / "template.py"
        program.write_text(textwrap.dedent(code) + _PARK.format(ready=str(ready)))
        with _fifo(ready) as reader:
            pid = inside.start([sys.executable, str(program)], fds=(TEMPLATE_CONTROL,))
            _read_fifo(reader)
        link = inside.run(["readlink", f"/proc/{pid}/fd/{TEMPLATE_CONTROL}"]).stdout.strip()
        yield Template(inside, pid, link, criu)


def restore_argv(criu: Criu, *, images_dir: Path, log: Path, inherit: dict[int, str]) -> list[str]:
    """Bring ``images_dir`` back, detached: CRIU ends when the restored process runs.

    ``inherit`` maps descriptors of CRIU to what they stand for, ``{9: "pipe:[1234]"}``.
    """
    argv = [*criu.argv, "restore", "--images-dir", str(images_dir), "--work-dir", str(log.parent)]
    argv += ["--log-file", log.name, "-v2", "--restore-detached"]
    argv += ["--no-default-config", "--manage-cgroups=ignore"]
    argv += command.plugins(criu)
    if criu.unprivileged:
        argv.append("--unprivileged")
    for fd, resource in sorted(inherit.items()):
        argv += ["--inherit-fd", f"fd[{fd}]:{resource}"]
    return argv


@dataclass
class Restored:
    """How a restore went; ``inside.answer()`` asks the process that came back."""

    inside: Namespaces
    rc: int
    log: str


@contextlib.contextmanager
def restored(
    criu: Criu, images: Path, control_pipe: str, *, run_dir: Path | None = None, first_pid: int = 0
) -> Iterator[Restored]:
    """Restore a copy in namespaces of its own, for the time of the block."""
    with namespaces(run_dir=run_dir, first_pid=first_pid) as inside:
        log = inside.scratch / "restore.log"
        argv = restore_argv(
            criu, images_dir=images, log=log, inherit={RESTORE_CONTROL: control_pipe}
        )
        done = inside.run(argv, fds=(RESTORE_CONTROL,))
        text = log.read_text(errors="replace") if log.exists() else ""
        yield Restored(inside, done.returncode, text + done.stderr)


@contextlib.contextmanager
def _fifo(path: Path) -> Iterator[int]:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield reader
    finally:
        os.close(reader)


def _read_fifo(reader: int) -> str:
    """All that one writer writes. Raises Died when none comes."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    text = b""
    while poll.poll(_WAIT_S * 1000):
        part = os.read(reader, 1 << 16)
        if not part:
            return text.decode()
        text += part
    raise Died("no answer from the process")
