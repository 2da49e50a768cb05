"""The connection: restarts of the controller, wrong tokens and versions, forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import AuthError, ConnectionError, InvalidError, VersionError
from rekindle.sdk.connection.background import Background, background
from rekindle.sdk.connection.client import Client
from tests.sdk.fake_controller import FakeController

app = rekindle.App("client")
entered = threading.Event()
gate = threading.Event()


@app.function()
def add_one(x: int) -> int:
    return x + 1


@app.function()
def wait_for_gate(x: int) -> int:
    entered.set()
    gate.wait(60)
    return x


def restart(controller: FakeController) -> None:
    controller.stop()
    controller.start()


def test_a_call_survives_a_restart_of_the_controller(controller: FakeController) -> None:
    entered.clear()
    gate.clear()

    def interfere() -> None:
        entered.wait(60)
        restart(controller)
        gate.set()

    with app.run():
        thread = threading.Thread(target=interfere)
        thread.start()
        assert wait_for_gate.remote(5) == 5
        thread.join()
    assert len({request.call_id for request in controller.submitted}) == 1


def test_a_map_survives_a_restart_of_the_controller(controller: FakeController) -> None:
    with app.run():
        values = add_one.map(range(300))
        got = [next(values) for _ in range(5)]
        restart(controller)
        got += list(values)
    assert got == [x + 1 for x in range(300)]


def test_the_app_is_held_again_after_a_restart(controller: FakeController) -> None:
    with app.run() as running:
        restart(controller)
        assert add_one.remote(1) == 2
        for _ in range(200):
            if controller.held == {running.app_id}:
                break
            threading.Event().wait(0.02)
        assert controller.held == {running.app_id}


def test_a_controller_that_stays_away_is_a_connection_error(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_CONNECT_TIMEOUT_S", "0.2")
    with app.run():
        controller.stop()
        with pytest.raises(ConnectionError, match=r"no controller answers.*rekindle up"):
            add_one.remote(1)
        controller.start()


def test_an_instance_that_nobody_brings_back_is_not_waited_for(
    controller: FakeController,
) -> None:
    with app.run():
        assert app.running is not None
        client = app.running.client
        assert client.alive()
        client.alive = lambda: False
        assert add_one.remote(1) == 2  # it is asked for when no controller answers
        controller.stop()
        with pytest.raises(ConnectionError, match="was killed"):
            add_one.remote(1)
        with pytest.raises(ConnectionError, match="was killed"):
            list(add_one.map([1]))
        controller.start()


@pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan"])
def test_a_bad_connect_timeout_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("REKINDLE_CONNECT_TIMEOUT_S", value)
    with pytest.raises(InvalidError, match="REKINDLE_CONNECT_TIMEOUT_S"):
        Client(Path("/nowhere"))


def test_a_wrong_token_is_an_auth_error(controller: FakeController) -> None:
    (controller.directory / "token").write_text("another")
    with pytest.raises(AuthError), app.run():
        pass


def test_another_protocol_is_a_version_error(controller: FakeController) -> None:
    controller.protocol = 999
    with pytest.raises(VersionError, match=r"protocol 999.*rekindle down"), app.run():
        pass


def test_a_directory_without_a_token_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(tmp_path))
    with pytest.raises(ConnectionError, match="is no instance directory"), app.run():
        pass


_LEAVES = """
import os
import rekindle
app = rekindle.App("leaves")

@app.function()
def add_one(x):
    return x + 1

if __name__ == "__main__":
    with app.run():
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            print(add_one.remote(1))
    os._exit(0) if pid == 0 else None
"""


def test_a_forked_child_that_leaves_the_block_does_not_end_the_app(
    controller: FakeController, tmp_path: Path
) -> None:
    assert run_script(tmp_path, _LEAVES, controller) == "2\n"
    assert len(controller.closed) == 1


def run_script(directory: Path, text: str, controller: FakeController) -> str:
    """What a program prints that uses the controller: nothing on standard error, but for Python's
    own word on forks of programs with threads (3.12 and later).

    It has a process group of its own, and a directory with a module called as one of a library.
    """
    script = directory / "program.py"
    script.write_text(text)
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "grpc.py").write_text("raise ImportError('it is the user's')\n")
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", str(script)],
        cwd=elsewhere,
        env={**os.environ, "REKINDLE_DIR": str(controller.directory)},
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


_FORKS = """
import os, signal
import rekindle
app = rekindle.App("forks")

@app.function()
def add_one(x):
    return x + 1

def interrupted(number, frame):
    pass  # the program's own business

def main():
    signal.signal(signal.SIGINT, interrupted)
    with rekindle.enable_output(), app.run():
        assert add_one.remote(1) == 2
        pid = os.fork()
        if pid == 0:
            try:
                assert add_one.remote(2) == 3
                os.kill(0, signal.SIGINT)  # as Ctrl-C does, to the whole group
                assert list(add_one.map(range(3))) == [1, 2, 3]
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code == 0, code
        assert add_one.remote(3) == 4
    print("fine")

if __name__ == "__main__":
    main()
"""


def test_a_forked_child_makes_its_own_connection(
    controller: FakeController, tmp_path: Path
) -> None:
    assert run_script(tmp_path, _FORKS, controller) == "fine\n"


def test_a_blocking_call_on_the_background_thread_is_refused() -> None:
    async def blocking() -> Any:
        async def nothing() -> None: ...

        return background().run(nothing())

    with pytest.raises(InvalidError, match=r"\.aio"):
        background().run(blocking())


def test_what_cannot_be_closed_keeps_nothing_else_open(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []
    made = Background()
    made.begin()

    async def fails() -> None:
        closed.append("fails")
        raise OSError("gone")

    async def ends() -> None:
        closed.append("ends")

    for closer in (fails, ends, fails):
        made.at_close(closer)
    made.close()
    assert closed == ["fails", "ends"]
    assert not made.loop.is_running()
    assert "not closed in good order" in caplog.text


def test_a_client_that_is_closed_is_nothing_to_close_any_more(controller: FakeController) -> None:
    before = len(background()._closers)
    for _ in range(3):
        made = Client(controller.directory)
        background().run(made.hello())
        background().run(made.hello())
        assert len(background()._closers) == before + 1
        background().run(made.close())
    assert len(background()._closers) == before


def test_a_client_remembers_so_many_functions_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rekindle.sdk.connection.client._MOST_TOKENS", 3)
    made = Client(Path("/nowhere"))
    for name in ("a", "b", "c", "a", "d"):
        made.know(name, f"token of {name}")
    assert made.node_tokens == {name: f"token of {name}" for name in ("c", "a", "d")}
