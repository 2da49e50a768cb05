"""Sessions with a real instance: brought up, used, and taken down whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rekindle.exception import InvalidError
from rekindle.sdk.local import session
from rekindle.sdk.local.directory import supervisor_pid
from tests.processes import descendants
from tests.sdk.local.waiting import left_over, until


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A rekindle home of its own, with a path that is short enough for sockets."""
    before = descendants()
    with tempfile.TemporaryDirectory(prefix="rk-home-", ignore_cleanup_errors=True) as name:
        monkeypatch.setenv("REKINDLE_HOME", name)
        monkeypatch.delenv("REKINDLE_DIR", raising=False)
        yield Path(name)
    # What was below a process that was killed is this one's to reap, once a test of e2e has run
    # here (``adopt_orphans`` in its harness).
    _gone, left = psutil.wait_procs(descendants() - before, timeout=60)
    assert not left


def test_a_private_instance_comes_up_and_leaves_nothing(home: Path) -> None:
    one = session.begin()
    try:
        directory = one.wait()
        assert one.private
        assert (directory / "controller.sock").exists()
        assert directory.stat().st_mode & 0o777 == 0o700
    finally:
        one.end()
    until(lambda: left_over(home) == [])  # the last of it ends with it


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("REKINDLE_RESULT_TTL_S", "soon"),  # of the controller
        ("REKINDLE_MAX_RUNNERS", "0"),  # of the agent; its others: runtime/agent/test_settings.py
    ],
)
def test_an_instance_with_a_wrong_setting_is_refused_with_its_name(
    home: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.setenv(setting, value)
    one = session.begin()
    try:
        with pytest.raises(InvalidError, match=f"{setting}(=|: )'?{value}"):
            one.wait()
    finally:
        one.end()
    until(lambda: left_over(home) == [])  # the last of it ends with it


def test_a_session_sees_that_its_supervisor_was_killed(home: Path) -> None:
    one = session.begin()
    try:
        directory = one.wait()
        assert one.alive()
        pid = supervisor_pid(directory)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: not one.alive())
    finally:
        one.end()
    assert session.Session(Path("/not/ours"), None).alive()


_PROGRAM = """
import sys, time
import rekindle
app = rekindle.App("x")

@app.function()
def f(x):
    return x + 1

with app.run():
    print(f.remote(1), flush=True)
    {then}
"""


#: In short sleeps: Python sees a signal that comes just before one when that ends, and not sooner.
_GOES_ON = "[time.sleep(0.05) for _ in range(1200)]"


@pytest.mark.parametrize(
    ("then", "signal_sent", "status"),
    [
        ("raise SystemExit(3)", None, 3),
        ("1 / 0", None, 1),
        (_GOES_ON, signal.SIGINT, -signal.SIGINT),
        (_GOES_ON, signal.SIGTERM, -signal.SIGTERM),
        (_GOES_ON, signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_however_a_program_ends_nothing_is_left(
    home: Path, then: str, signal_sent: signal.Signals | None, status: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_PROGRAM).format(then=then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    if signal_sent is not None:
        process.send_signal(signal_sent)
    _, errors = process.communicate(timeout=60)
    assert first == "2\n", errors
    assert process.returncode == status, errors
    until(lambda: left_over(home) == [], 60)
