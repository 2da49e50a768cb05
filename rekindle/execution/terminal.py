"""The user's terminal in a runner: asked for, taken over and given back.

The program that was started with ``rekindle run -i`` listens at a socket of its app. It gives one
runner at a time the end of a pseudo-terminal, which becomes the runner's standard streams and its
controlling terminal, so that Ctrl-C and the size of the window reach it. What it is given lives
exactly as long as the program: when that is killed, reads are at their end. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import sys
import termios
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rekindle import paths
from rekindle.exception import InvalidError
from rekindle.execution import context
from rekindle.wire import runner_variables
from rekindle.wire.frames import FrameError, FrameSocket

if TYPE_CHECKING:
    from rekindle.wire.page import RunnerPage

_NO_CTRL_C = "rekindle: Ctrl-C does not reach this runner, whose process group is of its own.\n"


class Terminal:
    """The terminal, while this process has it."""

    def __init__(self, channel: FrameSocket, page: RunnerPage, fd: int, term: str) -> None:
        self._channel = channel
        self._page = page
        self._before = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3) for number in range(3)]
        self._term = os.environ.get("TERM")
        self._on_interrupt = signal.getsignal(signal.SIGINT)
        _flush()
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, _hung_up)
        self._controls = _become_controlled(fd)
        for number in range(3):
            os.dup2(fd, number)
        os.close(fd)
        os.environ["TERM"] = term
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - input() edits lines by it
        if not self._controls:
            os.write(2, _NO_CTRL_C.encode())

    def give_back(self) -> None:
        """Have the standard streams that there were before; the next runner may have it."""
        sys.settrace(None)  # a debugger that was left behind
        _flush()
        if self._controls:
            with contextlib.suppress(OSError):  # its other end is gone, and so is the bond
                fcntl.ioctl(0, termios.TIOCNOTTY)
        for number, fd in enumerate(self._before):
            os.dup2(fd, number)
            os.close(fd)
        signal.signal(signal.SIGINT, self._on_interrupt)
        if self._term is None:
            os.environ.pop("TERM", None)
        else:
            os.environ["TERM"] = self._term
        with contextlib.suppress(OSError):  # whoever lent it is gone
            self._channel.send({"op": "done"})
            self._channel.receive()  # until it is the program's again: results are shown after that
        self._channel.close()
        self._page.interact(False)


def take(by: str, page: RunnerPage, agent: FrameSocket) -> Terminal:
    """Wait for the terminal, and take it; ``by``: what asks for it. Raises InvalidError."""
    if threading.current_thread() is not threading.main_thread():
        raise InvalidError(f"{by} has to be called in the main thread of a runner")
    app_id = os.environ.get(runner_variables.APP_ID, "")
    instance = os.environ.get("REKINDLE_DIR", "")
    try:
        channel = FrameSocket.connect(str(paths.terminal_socket(Path(instance), app_id)))
    except OSError:
        raise InvalidError(
            f"{by} needs a terminal, and there is none for this app here: start it with "
            f"`rekindle run -i`, or inside app.run(interactive=True), on the machine of the runner"
        ) from None
    page.interact(True)
    try:
        # What was printed up to now is shown before: the mark follows it to the program.
        _flush()
        mark = ""
        if (input_id := context.current_input_id()) is not None:
            mark = f"tty-{secrets.token_hex(8)}"
            agent.send({"op": "mark", "call_id": mark})
        channel.send(
            {
                "op": "ask",
                "by": by,
                "runner": os.environ.get(runner_variables.RUNNER_ID, ""),
                "function": os.environ.get(runner_variables.FUNCTION, ""),
                "input": input_id or "",
                "mark": mark,
            }
        )
        header, _body, fds = channel.receive()
        return Terminal(channel, page, fds[0], header["term"])
    except FrameError:
        channel.close()
        page.interact(False)
        raise InvalidError(f"{by}: the program that has the terminal ends") from None
    except BaseException:
        channel.close()
        page.interact(False)
        raise


def _become_controlled(fd: int) -> bool:
    """Make it the controlling terminal of this process; whether it is."""
    with contextlib.suppress(OSError):  # it leads a session already, as a restored copy does
        os.setsid()
    try:
        fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
    except OSError:
        return False
    return True


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or replaced
            stream.flush()


def _hung_up(_number: int, _frame: FrameType | None) -> None:
    """Whoever lent the terminal is gone, which reads say."""
