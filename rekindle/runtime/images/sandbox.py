"""The builder's side of a sandbox: give it its order, read what it prints line by line."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rekindle import paths
from rekindle.linux import limits

#: A line that a step printed.
Say = Callable[[str], None]

_MODULE = "rekindle.runtime.images.inside"
_CHUNK_BYTES = 1 << 16
_LINE_END = re.compile(r"\r\n|\n|\r")
#: An exit status as of timeout(1).
TIMED_OUT = 124


def run(order: Mapping[str, Any], say: Say, timeout_s: float) -> tuple[int, dict[str, str]]:
    """The exit status of a step, and what was found of its Python. Raises OSError.

    All that the step started has ended when this returns, and soon after this process has ended.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, read_fd)
        env = {**os.environ, "PYTHONPATH": str(paths.PACKAGE.parent)}
        try:
            child = subprocess.Popen(
                [sys.executable, "-P", "-X", "utf8", "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(write_fd,),
                env=env,
            )
        finally:
            write_of_child = write_fd
            os.close(write_fd)
        stack.callback(_end, child)
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it says itself why it ended
            order = {**order, "result_fd": write_of_child, "open_files": limits.given_open_files()}
            child.stdin.write(json.dumps(order).encode())
            child.stdin.close()
        if not _read(child.stdout.fileno(), say, time.monotonic() + timeout_s):
            say(f"no end after {timeout_s:g} s")
            return TIMED_OUT, {}
        status = child.wait()
        os.set_blocking(read_fd, False)
        try:
            said = os.read(read_fd, _CHUNK_BYTES)
        except BlockingIOError:
            said = b""
    return status, json.loads(said) if said else {}


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()


def _read(fd: int, say: Say, deadline_s: float) -> bool:
    """Say line by line what comes until all writers have ended; whether that was in time."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            if not selector.select(min(left_s, 3600.0)):
                continue
            chunk = os.read(fd, _CHUNK_BYTES)
            # A progress bar is written over itself: each state of it is a line.
            *lines, rest = _LINE_END.split(rest + decoder.decode(chunk, not chunk))
            for line in lines:
                if line.strip():
                    say(line.rstrip())
            if not chunk:
                if rest.strip():
                    say(rest.rstrip())
                return True
