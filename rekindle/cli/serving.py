"""One version of an app that ``rekindle serve`` serves: loaded and deployed by a child of its own.

The child stays to show what that version prints. It ends with its version; where nobody reads its
lines any more (``| head``), it stops the app, and the command ends. When the command ends, however
it does, the child of the present version stops the app; one that loads the user's code just then
ends with it, and one that deploys stops what it deployed. The parent starts no thread.
A name is served by one command (served_names.py): the child that serves it first takes its lock,
and hands it to the parent, from whom the next ones have it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rekindle.cli import app_refs
from rekindle.cli.failure import show_failure
from rekindle.exception import InvalidError
from rekindle.linux import processes
from rekindle.linux.plain_descriptors import readable
from rekindle.sdk import deploying, environments, interrupted_deploy, logs, notes
from rekindle.sdk.local import served_names, staying
from rekindle.sdk.program import imports, main_module

if TYPE_CHECKING:
    from rekindle.sdk.app import App
    from rekindle.sdk.declaration import DeployedHere

#: What the parent says to a child whose version another one has replaced, or is that of another, or
#: whose app the file does not name any more, which the child stops. It stops it as well where the
#: parent says nothing and goes. One whose version is no new one waits to be told that it is needed.
_REPLACED, _NOT_NEEDED, _RENAMED, _NEEDED = b"r", b"n", b"o", b"y"
#: What ends the command, as an exception.
_ENDING = (signal.SIGINT, signal.SIGTERM)
#: How long a child that loads may take to give up: to ask the controller takes three seconds.
_GIVE_UP_S = 5.0


@dataclass(frozen=True)
class Served:
    """What a child says of its version. ``error``: it has said why on standard error."""

    files: tuple[str, ...] = ()
    error: bool = False
    name: str = ""
    version: int = 0
    unchanged: bool = False
    functions: tuple[str, ...] = ()
    #: Whether the error is that another command serves an app of that name.
    taken: bool = False


class Serving:
    """The children, the present one first of all."""

    def __init__(
        self, reference: str, is_module: bool, name: str | None, timestamps: bool = False
    ) -> None:
        self._reference = reference
        self._is_module = is_module
        self._name = name
        self._timestamps = timestamps
        self._lives: dict[int, int] = {}  # child -> what it hears us by
        self._present = 0
        self._app = ""
        self._held: dict[str, int] = {}  # name of an app, as its instance knows it -> its lock
        self.version = 0

    def load(self) -> Served:
        """Load and deploy what the files are now."""
        self._reap()
        said, says = socket.socketpair()
        hears, life = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # until both can be interrupted
        parent = os.getpid()
        pid = processes.fork_beside_threads()  # of what a library has started, none is needed
        if pid == 0:
            processes.die_with_parent(parent)
            said.close()
            for one in (life, *self._lives.values()):
                os.close(one)
            what = (self._reference, self._is_module, self._name)
            with logs.timestamps(self._timestamps):
                _child(*what, self._held, says=says, hears=hears)
        says.close()
        os.close(hears)
        self._lives[pid] = life
        with said, said.makefile("rb") as stream:
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                _, locks, _, _ = socket.recv_fds(said, 1, 1)
                text = stream.readline()
            except BaseException:
                _interrupt(pid, said)
                raise
        served = Served(**json.loads(text)) if text else Served(error=True)
        if served.error:
            return served
        self._hold(served.name, locks)
        same, is_there = served.name == self._app, self._present in self._lives
        if served.unchanged and same and is_there:
            _say(life, _NOT_NEEDED)
            return served
        if served.unchanged:
            _say(life, _NEEDED)
        if is_there:
            _say(self._lives[self._present], _REPLACED if same else _RENAMED)
        self._present, self._app, self.version = pid, served.name, served.version
        return served

    def _hold(self, name: str, locks: list[int]) -> None:
        """Hold the name that is served now, and no other: who still stops that app holds it."""
        known_as = environments.app_in(None, name)
        for lock in locks:
            self._held[known_as] = lock
        for other in self._held.keys() - {known_as}:
            os.close(self._held.pop(other))

    def goes_on(self) -> bool:
        """Whether the present version is there; whoever ended it, its child has said so."""
        self._reap()
        return self._present in self._lives or not self._present

    def _reap(self) -> None:
        for pid in list(self._lives):
            if os.waitpid(pid, os.WNOHANG)[0]:
                os.close(self._lives.pop(pid))

    def close(self) -> None:
        """Have the app stopped, and wait for it."""
        for life in self._lives.values():  # all hear it: one may wait for what another one ends
            os.close(life)
        for pid in self._lives:
            os.waitpid(pid, 0)
        self._lives.clear()
        while self._held:
            served_names.give_back(staying.place(), *self._held.popitem())


def _interrupt(pid: int, said: socket.socket) -> None:
    """Have a child that loads give up, and return once it deploys nothing any more, or has deployed
    and will hear that it is to stop that. One that says nothing may be anywhere in the user's code,
    and is killed."""
    there = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(there, signal.SIGINT)
        gives_up = bool(readable([said.fileno(), there], _GIVE_UP_S))
    except BaseException:  # a second Ctrl-C
        signal.pidfd_send_signal(there, signal.SIGKILL)
        raise
    else:
        if not gives_up:
            signal.pidfd_send_signal(there, signal.SIGKILL)
    finally:
        os.close(there)


def _say(life: int, word: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has just ended by itself
        os.write(life, word)


# ---- the child ---------------------------------------------------------------------------------


def _child(
    reference: str,
    is_module: bool,
    name: str | None,
    held: dict[str, int],
    says: socket.socket,
    hears: int,
) -> NoReturn:
    """Never returns into the parent's code."""
    os.setpgid(0, 0)  # Ctrl-C is the parent's, who says when it is to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    status = 1
    try:
        status = _serve(reference, is_module, name, held, says, hears)
    except BaseException as error:  # noqa: BLE001 - whatever it was, it ends here, and says so
        show_failure(error)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # its reader has gone, or the disk is full
                stream.flush()
        os._exit(status)


def _serve(
    reference: str,
    is_module: bool,
    name: str | None,
    held: dict[str, int],
    says: socket.socket,
    hears: int,
) -> int:
    app: App | None = None
    taken: list[int] = []
    attempt = interrupted_deploy.DeployAttempt()
    signal.signal(signal.SIGINT, functools.partial(_interrupted, attempt))
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        app = app_refs.resolve(reference, is_module=is_module)
        if name is None and app.name is None:
            raise deploying.nameless()
        name = f"{app.name}-dev" if name is None else name
        taken = _take(environments.app_in(None, name), held)
        processes.outlive_parent()  # what is deployed is stopped by this process, if it must be
        with interrupted_deploy.interruptible(attempt):
            made = deploying.deploy(app, name, serves=True)
        files = _files(reference)
        served = Served(files, False, made.name, made.version, made.unchanged, made.functions)
    except BaseException as error:  # noqa: BLE001 - whatever the user's file raised
        if (
            not attempt.interrupted or attempt.is_live is None
        ):  # else the parent knows, or it is here
            show_failure(error)
        if attempt.is_live and name is not None:
            here, _ = deploying.look_up(environments.app_in(None, name), create_if_missing=False)
            _stop(here)
        is_taken = isinstance(error.__cause__, served_names.TakenError)
        app, served = None, Served(_files(reference), error=True, taken=is_taken)
    with says, contextlib.suppress(BrokenPipeError):  # the parent has gone; _stay finds that out
        socket.send_fds(says, [b"\n"], [] if served.error else taken)
        says.sendall(json.dumps(asdict(served)).encode() + b"\n")
    if app is None or app.deployed is None:
        return 1
    if served.unchanged and os.read(hears, 1) == _NOT_NEEDED:
        return 0  # another one shows what it prints
    _stay(app.deployed, hears)
    return 0


def _interrupted(attempt: interrupted_deploy.DeployAttempt, *_signal: object) -> None:
    """The parent ends. Of a version that is being made it is awaited what it comes to."""
    if not attempt.interrupt():
        raise KeyboardInterrupt


def _take(name: str, held: dict[str, int]) -> list[int]:
    """The lock of a name, unless the parent has it; others that it has are not this child's.

    Raises InvalidError where another command has it.
    """
    for other in held.keys() - {name}:
        os.close(held[other])
    if name in held:
        return []
    try:
        return [served_names.take(staying.place(), name, os.getppid())]
    except served_names.TakenError as error:
        raise InvalidError(
            f"{name} is served already, by the `rekindle serve` of process {error}: end that one, "
            f"or serve under a name of your own (--name)"
        ) from error


def _files(reference: str) -> tuple[str, ...]:
    """The user's own files that a change of is a change of the app, and where it lies."""
    found = {
        file
        for module in list(sys.modules.values())
        if isinstance(file := getattr(module, "__file__", None), str)
        and imports.is_local_file(file)
    }
    script = main_module.current()
    start = [imports.LocalModule(script.name, script.file)] if script is not None else []
    found |= {str(module.file) for module in imports.local_modules(start).values()}
    named = Path(reference.partition("::")[0])
    if os.path.isfile(named):
        found |= {str(named.absolute()), str(named.absolute().parent)}
    return tuple(sorted(found))


def _stay(app: DeployedHere, hears: int) -> None:
    """Show what the version prints; stop the app when the parent, or who reads that, has gone."""
    from rekindle.sdk.connection.background import background
    from rekindle.wire import rekindle_pb2 as pb

    lost = _LostOutput()
    notes.on_lost = lost.note

    async def follow() -> None:
        request = pb.LogsRequest(app_id=app.app_id, follow=True)
        async for line in app.client.logs(request):
            logs.show(line)
            if lost.has_no_reader:
                return

    following = background().start(follow())
    over, ends = os.pipe()
    following.add_done_callback(lambda _: os.close(ends))
    heard = readable([hears, over])
    if hears not in heard:
        following.result()  # raises where the instance has ended
        if lost.has_no_reader:  # as any other program ends
            _stop(app)
            return
        _say_if_stopped(app)  # by somebody else: whoever is replaced is told so
    said = os.read(hears, 1)
    if said == _REPLACED:
        following.result()  # until what it has is done
    else:
        _stop(app)
        if said == _RENAMED and notes.shown:
            notes.write_note(f"{app.name} is stopped: the file has another app now.")


class _LostOutput:
    """What becomes of lines that standard output does not take."""

    def __init__(self) -> None:
        self.has_no_reader = False
        self._said = False

    def note(self, error: OSError) -> None:
        """One that could not be written. A full disk may have room again: the app goes on."""
        if isinstance(error, BrokenPipeError):
            self.has_no_reader = True
        elif not self._said:
            self._said = True
            notes.write_note(
                f"What the app prints cannot be written to standard output: {error.strerror}. It "
                f"goes on; `rekindle logs` shows its last lines."
            )


def _stop(app: DeployedHere) -> None:
    from rekindle.wire import rekindle_pb2 as pb

    deploying.ask(app.client, "StopApp", pb.StopAppRequest(app=app.name), pb.DeployedApp)


def _say_if_stopped(app: DeployedHere) -> None:
    from rekindle.wire import rekindle_pb2 as pb

    request = pb.DeployedAppsRequest(app=app.name)
    found = deploying.ask(app.client, "DeployedApps", request, pb.DeployedAppsReply).apps
    if any(one.stopped for one in found) and notes.shown:
        notes.write_note(f"{app.name} was stopped elsewhere. A change deploys it again.")
