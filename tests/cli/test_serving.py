"""The children that ``rekindle serve`` has, one for each version."""

from __future__ import annotations

import json
import os
import signal
import socket
import warnings
from dataclasses import asdict
from types import SimpleNamespace
from typing import NoReturn

import pytest

from rekindle.cli import serving
from rekindle.cli.serving import Served, Serving
from rekindle.linux.plain_descriptors import readable
from rekindle.sdk.deploying import Deployed
from tests import warned_forks

#: What a child is given: reference, whether it is a module, name, and the names that are held.
_Given = str | bool | dict[str, int] | None


def _say(says: socket.socket, version: int) -> None:
    line = json.dumps(asdict(Served(name="app", version=version))).encode() + b"\n"
    says.sendall(b"\n" + line)  # no lock goes with it


def test_a_version_replaces_one_whose_child_ends_just_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first(*given: _Given, says: socket.socket, hears: int) -> NoReturn:
        _say(says, 1)
        os.read(hears, 1)
        os._exit(0)

    def second(*given: _Given, says: socket.socket, hears: int) -> NoReturn:
        (former,) = served._lives
        there = os.pidfd_open(former)
        signal.pidfd_send_signal(there, signal.SIGKILL)
        readable([there])
        _say(says, 2)
        os.read(hears, 1)
        os._exit(0)

    served = Serving("app.py", False, None)
    try:
        monkeypatch.setattr(serving, "_child", first)
        assert served.load().version == 1
        monkeypatch.setattr(serving, "_child", second)
        assert served.load().version == 2
        assert served.goes_on()
    finally:
        served.close()


def test_a_version_is_loaded_where_a_thread_is_and_each_warning_is_to_raise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ends(*given: _Given, says: socket.socket, hears: int) -> NoReturn:
        _say(says, 1)
        os.read(hears, 1)
        os._exit(0)

    monkeypatch.setattr(serving, "_child", ends)
    warned_forks.make(monkeypatch)
    served = Serving("app.py", False, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert served.load().version == 1
        finally:
            served.close()


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """To set what a child does; it finds an app without a file, and deploys it nowhere."""
    app = SimpleNamespace(name="app", deployed=object())
    made = Deployed("app-dev", "ap-1", 1, unchanged=False)
    monkeypatch.setattr(serving.app_refs, "resolve", lambda _reference, is_module: app)
    monkeypatch.setattr(serving.deploying, "deploy", lambda _app, _name, serves: made)
    monkeypatch.setattr(serving, "_files", lambda _reference: ())
    return monkeypatch


def test_a_version_that_is_no_new_one_shows_nothing_where_another_does(
    child: pytest.MonkeyPatch,
) -> None:
    made = Deployed("app-dev", "ap-1", 1, unchanged=True)
    shown, shows = os.pipe()

    def stay(_app: object, hears: int) -> None:
        os.write(shows, b"shows\n")
        os.read(hears, 1)

    child.setattr(serving.deploying, "deploy", lambda _app, _name, serves: made)
    child.setattr(serving, "_stay", stay)
    served = Serving("app.py", False, None)
    try:
        assert served.load().unchanged
        assert os.read(shown, 100) == b"shows\n", "the first one is needed"
        assert served.load().unchanged
        _, second = served._lives
        ended = os.pidfd_open(second)
        readable([ended])
        assert served.goes_on() and len(served._lives) == 1
    finally:
        served.close()
    os.close(shows)
    assert os.read(shown, 100) == b""


def test_a_version_that_is_deployed_when_its_first_load_is_interrupted_is_stopped(
    child: pytest.MonkeyPatch,
) -> None:
    stopped, stops = os.pipe()

    def interrupted(_reference: str) -> tuple[str, ...]:
        """It is deployed, and has not said so."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        os.kill(os.getppid(), signal.SIGINT)
        signal.sigwait([signal.SIGINT])  # as the parent hands it on
        return ()

    def stop(_app: object, hears: int) -> None:
        if not os.read(hears, 1):
            os.write(stops, b"stopped")

    child.setattr(serving, "_files", interrupted)
    child.setattr(serving, "_stay", stop)
    served = Serving("app.py", False, None)
    try:
        with pytest.raises(KeyboardInterrupt):
            served.load()
    finally:
        served.close()
    os.close(stops)
    assert os.read(stopped, 100) == b"stopped"


def test_what_was_being_deployed_when_the_command_was_killed_is_stopped(
    child: pytest.MonkeyPatch,
) -> None:
    hears, says = os.pipe()

    def deploy(_app: object, _name: str, serves: bool) -> Deployed:
        parent = os.pidfd_open(os.getppid())
        os.write(says, b"deploying\n")
        readable([parent])
        return Deployed("app-dev", "ap-1", 1, unchanged=False)

    def stay(_app: object, life: int) -> None:
        os.write(says, b"the parent says " + repr(os.read(life, 1)).encode())

    child.setattr(serving.deploying, "deploy", deploy)
    child.setattr(serving, "_take", lambda _name, _held: [])
    child.setattr(serving, "_stay", stay)
    command = os.fork()
    if command == 0:
        Serving("app.py", False, None).load()
        os._exit(0)
    os.close(says)
    assert os.read(hears, 100) == b"deploying\n"
    os.kill(command, signal.SIGKILL)
    os.waitpid(command, 0)
    assert os.read(hears, 100) == b"the parent says b''"
    os.close(hears)
