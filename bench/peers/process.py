"""Our side of a peer: start its process, ask it, end it and all that it started, by their ids."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from peers import environment
from rekindle.controller.storage.embedded_redis import find_server
from rekindle.exception import ServiceError

_BENCH = Path(__file__).resolve().parent.parent
_PR_SET_CHILD_SUBREAPER = 36
#: Peers that need no environment of their own.
_OURS = ("rekindle", "pool")
#: More than any measurement takes; the peers' own limits (work.CALL_S) come first.
START_S, MEASURE_S, END_S = 300.0, 300.0, 30.0


class MeasureError(ServiceError):
    """A peer could not do what it was asked to; the text says why."""


class HangsError(MeasureError):
    """A peer did not answer in time. What it would still say answers nothing that is asked next."""


@dataclass
class Peer:
    """A running peer in one role."""

    name: str
    process: subprocess.Popen[bytes]
    scratch: Path
    log: IO[bytes]
    version: str = ""
    #: Measurement -> forms of it.
    forms: dict[str, list[str]] = field(default_factory=dict)
    #: It did not answer in time: nothing is waited for any more.
    hangs: bool = False
    #: What it said after its last whole line.
    _heard: bytes = b""

    def ask(self, measure: str, form: str, **arguments: Any) -> Any:
        """Have it measure. Raises MeasureError."""
        asked = {"measure": measure, "form": form, "arguments": arguments}
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(asked).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise MeasureError(f"{self.name} has ended; {self.last_words()}") from None
        return self.answer(MEASURE_S)["value"]

    def answer(self, patience_s: float) -> dict[str, Any]:
        """Its next line, whole within that time. Raises MeasureError."""
        assert self.process.stdout is not None
        until, said = time.monotonic() + patience_s, self.process.stdout.fileno()
        with selectors.DefaultSelector() as selector, _pidfd(self.process.pid) as ended:
            selector.register(said, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)  # its workers may hold the pipe open
            while b"\n" not in self._heard:
                left_s = until - time.monotonic()
                ready = {key.fd for key, _ in selector.select(left_s)} if left_s > 0 else set()
                if not ready:
                    self.hangs = True
                    raise HangsError(f"hangs: {self.name} did not answer within {patience_s:g} s")
                piece = os.read(said, 1 << 16) if said in ready else b""
                if not piece:
                    raise MeasureError(f"{self.name} has ended; {self.last_words()}")
                self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise MeasureError(f"{self.name}: {found['error']}")
        return found

    def last_words(self) -> str:
        """The end of what it logged."""
        lines = Path(self.log.name).read_text(errors="replace").splitlines()
        return "it said last: " + " | ".join(line.strip() for line in lines[-4:])

    def below(self) -> list[psutil.Process]:
        """What it started and what those started, in this order."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    """A descriptor that can be read once our child has ended."""
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def module_of(name: str) -> str:
    """What runs a peer."""
    return f"peers.{name}_peer"


@contextlib.contextmanager
def started(name: str, role: str, *, logs: Path) -> Iterator[Peer]:
    """A peer in a role: "rekindle", "ray", "pool" or "celery". Raises MeasureError."""
    _adopt_orphans()
    before = set(psutil.Process().children(recursive=True))
    interpreter = sys.executable if name in _OURS else str(environment.python())
    scratch = Path(tempfile.mkdtemp(prefix="rk-peer-", dir="/var/tmp"))
    logs.mkdir(parents=True, exist_ok=True)
    with open(logs / f"{name}-{role}.log", "ab") as log:
        process = subprocess.Popen(
            [interpreter, "-m", module_of(name), role],
            cwd=scratch,
            env=_environment(scratch),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,  # what it said lies in the pipe, where a selector sees it
            start_new_session=True,
        )
        peer = Peer(name, process, scratch, log)
        try:
            hello = peer.answer(START_S)
            peer.version, peer.forms = hello["version"], hello["forms"]
            yield peer
        finally:
            _end(peer, before)
            shutil.rmtree(scratch, ignore_errors=True)


def _environment(scratch: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REKINDLE_")}
    for name in ("REKINDLE_CRIU",):
        if name in os.environ:
            kept[name] = os.environ[name]
    path = os.pathsep.join([str(_BENCH), *filter(None, [os.environ.get("PYTHONPATH")])])
    return kept | {
        "PYTHONPATH": path,
        "TMPDIR": str(scratch),
        "REKINDLE_HOME": str(scratch / "home"),
        "REKINDLE_LINGER": "0",
        "REKINDLE_MAX_RUNNERS": "80",  # 64 slots, and some
        "PEER_REDIS_SERVER": str(find_server()),
    }


def _end(peer: Peer, before: set[psutil.Process]) -> None:
    """Let it end by itself, unless it hangs; what is left then is killed, each by its id."""
    assert peer.process.stdin is not None and peer.process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        peer.process.stdin.close()
    if not peer.hangs:
        with contextlib.suppress(subprocess.TimeoutExpired):
            peer.process.wait(END_S)
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        # Orphans have become our children: they are found by that.
        left = set(psutil.Process().children(recursive=True)) - before
        if not left:
            break
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(list(left), timeout=5)
    with contextlib.suppress(subprocess.TimeoutExpired):
        peer.process.wait(END_S)
    peer.process.stdout.close()


def _adopt_orphans() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
