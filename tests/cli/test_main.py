"""The command line without a command, with an unknown one, with an instance and without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rekindle.sdk import notes
from tests.cli.run_here import Cli
from tests.sdk.fake_controller import FakeController


def test_version_and_help(run: Cli) -> None:
    from rekindle import __version__

    assert run("--version")[1] == f"rekindle {__version__}\n"
    status, out, _ = run("--help")
    assert status == 0
    for command in ("run", "up", "down", "status", "setup", "doctor", "snapshot", "bench"):
        assert f"\n  {command} " in out


def test_python_dash_m_rekindle_is_the_command_line() -> None:
    from rekindle import __version__

    told = subprocess.run([sys.executable, "-m", "rekindle", "--version"], capture_output=True)
    assert (told.returncode, told.stdout.decode()) == (0, f"rekindle {__version__}\n")


def test_an_unknown_command_is_named_with_the_nearest(run: Cli) -> None:
    status, _, err = run("stauts")
    assert status == 2
    assert "did you mean 'status'?" in err
    assert "rekindle run x.py" in run("x.py")[2]


def test_help_loads_no_command(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom rekindle.cli.main import run\nrun(['--help'])\n"
        "heavy = {'grpc', 'redis', 'rich', 'cloudpickle', 'asyncio'}\n"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_status_shows_agents_and_functions(run: Cli, controller: FakeController) -> None:
    import json

    status, out, _ = run("status")
    assert status == 0
    assert "up 1 min 15 s" in out
    assert "connected" in out
    assert "demo" in out
    status, out, _ = run("status", "--json")
    report: dict[str, Any] = json.loads(out)
    assert report["up"] is True
    assert report["apps"][0]["name"] == "demo"


def test_status_without_an_instance(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REKINDLE_DIR")
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path))
    assert run("status")[:2] == (1, "No instance is up. `rekindle up` starts one.\n")
    assert '"up": false' in run("status", "--json")[1]
    assert run("down")[:2] == (0, "No instance is up.\n")


@pytest.mark.parametrize("text", ["nonsense", "", " "])
@pytest.mark.parametrize("after", [False, True])
def test_a_wrong_time_to_linger_is_refused_by_the_name_of_its_option(
    run: Cli, script: str, text: str, after: bool
) -> None:
    target = f"{script}::later"
    argv = [target, "--linger", text] if after else ["--linger", text, target]
    status, out, err = run("run", *argv)
    assert (status, out) == (1, "")
    assert f"--linger {text!r} is no time" in err and "REKINDLE_LINGER" not in err


def test_what_is_up_has_the_name_that_it_runs_under(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(notes, "on_terminal", said.append)
    file = tmp_path / "program_without_name.py"
    file.write_text(
        "import rekindle\napp = rekindle.App()\n@app.function()\ndef f() -> int:\n    return 1\n"
    )
    assert run("run", str(file))[0] == 0
    assert run("run", "--name", "another", f"{file}::f")[0] == 0
    assert said == ["program_without_name is up: f.", "another is up: f."]


def test_sigterm_that_comes_twice_as_timeout_sends_it_ends_quietly_with_143() -> None:
    code = (
        "import atexit, os, signal\n"
        "from rekindle.cli import main\n"
        "main._run = lambda argv: os.kill(os.getpid(), signal.SIGTERM)\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGTERM)\n"
        "main.main([])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (143, b"")


def test_sigterm_that_comes_later_again_ends_what_went_on_after_the_first() -> None:
    code = (
        "import os, signal, sys\n"
        "from rekindle.cli import main\n"
        "main._ONE_ORDER_S = 0\n"
        "def run(argv):\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    except SystemExit:\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "main._run = run\n"
        "main.main([])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (143, b"")


def test_a_word_that_is_no_text_is_named(run: Cli, controller: FakeController) -> None:
    for argv in (("logs", "\udcff"), ("inputs", "show", "\udcff"), ("app", "info", "\udcff")):
        status, _, err = run(*argv)
        assert (status, err.splitlines()[0]) == (1, "Error: '\\udcff' is no text in UTF-8"), argv
