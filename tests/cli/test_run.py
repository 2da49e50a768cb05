"""``rekindle run``: references, arguments, output, failures."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rekindle.cli import main as cli
from rekindle.sdk import notes
from rekindle.sdk.local import session
from tests.sdk.fake_controller import FakeController

_SCRIPT = '''
from __future__ import annotations
import asyncio
from datetime import datetime
from typing import Literal, Optional
import rekindle

app = rekindle.App("script")

@app.function()
def double(x: int) -> int:
    """Doubles a number."""
    return 2 * x

@app.function()
def fail(code: int = 7):
    inner(code)

def inner(code):
    raise ValueError(f"code {code}")

@app.function()
def words(*args):
    return list(args)

@app.function()
def placed(a: int, b: int = 2, /, c: int = 3):
    return [a, b, c]

@app.function()
def odd(x: dict):
    return x

@app.cls()
class Thing:
    size: int = rekindle.parameter(default=1)

    @rekindle.method()
    def grow(self, by: int = 1) -> int:
        return self.size + by

@app.cls()
class Keyed:
    key: bytes = rekindle.parameter(default=b"x\\xff")

    @rekindle.method()
    def show(self) -> str:
        return repr(self.key)

@app.local_entrypoint()
def main(
    name: str,
    count: int = 2,
    ratio: float = 0.5,
    loud: bool = False,
    when: datetime | None = None,
    mode: Literal["a", "b"] = "a",
    level: Literal[1, 2] = 1,
    maybe: Optional[int] = None,
    phases_of: str = "moon",
):
    print(repr((name, count, ratio, loud, when, mode, level, maybe, phases_of)))

@app.local_entrypoint()
async def later(x: int = 3):
    await asyncio.sleep(0)
    print(await double.remote.aio(x))

@app.local_entrypoint()
def fails():
    double.remote(1)
    raise KeyError("mine")

@app.local_entrypoint()
def fails_remotely():
    fail.remote(3)

@app.local_entrypoint()
def nests():
    with app.run():
        pass

@app.local_entrypoint()
def many(n: int = 30):
    assert list(double.map(range(n))) == [2 * i for i in range(n)]
'''


class Cli:
    """Runs command lines in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        status = cli.run(argv)
        shown = self._capsys.readouterr()
        return status, shown.out, shown.err


@pytest.fixture
def run(
    controller: FakeController, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cli]:
    terminate = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(session, "announce", None)
    monkeypatch.setattr(notes, "shown", True)
    yield Cli(capsys)
    signal.signal(signal.SIGTERM, terminate)


@pytest.fixture
def script(tmp_path: Path) -> str:
    file = tmp_path / "program.py"
    file.write_text(_SCRIPT)
    return str(file)


def test_a_function_runs_remotely_and_its_result_is_shown(run: Cli, script: str) -> None:
    assert run("run", f"{script}::double", "--x", "4") == (0, "8\n", "")
    assert run("run", "-q", f"{script}::double", "--x", "4") == (0, "", "")


def test_a_method_takes_parameters_of_its_class_too(run: Cli, script: str) -> None:
    assert run("run", f"{script}::Thing.grow", "--size", "5", "--by", "2")[:2] == (0, "7\n")
    assert run("run", f"{script}::Thing")[:2] == (0, "2\n")
    assert run("run", f"{script}::app.Thing.grow")[:2] == (0, "2\n")


def test_a_parameter_that_goes_by_its_place_is_an_option_too(run: Cli, script: str) -> None:
    assert run("run", f"{script}::placed", "--c", "5", "--a", "4")[:2] == (0, "[4, 2, 5]\n")


def test_a_parameter_of_bytes_is_given_as_text(run: Cli, script: str) -> None:
    assert run("run", f"{script}::Keyed.show")[:2] == (0, repr(b"x\xff") + "\n")
    assert run("run", f"{script}::Keyed.show", "--key", "é")[:2] == (0, f"{'é'.encode()!r}\n")
    assert "--key TEXT" in run("run", f"{script}::Keyed.show", "--help")[1]


def test_options_come_from_the_signature(run: Cli, script: str) -> None:
    status, out, err = run(
        *("run", f"{script}::main", "--name", "n", "--count", "3", "--ratio", "1.5", "--loud"),
        *("--when", "2024-02-03", "--mode", "b", "--level", "2", "--maybe", "9"),
        *("--phases-of", "venus"),
    )
    assert (status, err) == (0, "")
    assert out == ("('n', 3, 1.5, True, datetime.datetime(2024, 2, 3, 0, 0), 'b', 2, 9, 'venus')\n")
    assert run("run", f"{script}::main", "--name", "n", "--no-loud")[1] == (
        "('n', 2, 0.5, False, None, 'a', 1, None, 'moon')\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing option '--name'"),
        (["--name", "n", "--count", "x"], "'x' is no whole number"),
        (["--name", "n", "--mode", "c"], "'c' is not one of"),
        (["--name", "n", "--level", "3"], "'3' is not one of '1', '2'"),
        (["--name", "n", "--cuont", "3"], "--cuont"),
    ],
)
def test_wrong_arguments_are_wrong_usage(
    run: Cli, script: str, arguments: list[str], words: str
) -> None:
    status, _, err = run("run", f"{script}::main", *arguments)
    assert status == 2
    assert words in err


def test_what_may_be_anything_takes_any_word_and_keeps_its_default(
    run: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "program_any.py"
    file.write_text(
        "import rekindle\nfrom typing import Any\napp = rekindle.App('x')\n"
        "@app.function()\ndef f(x: Any = 3, y: Any = None):\n    return (x, y)\n"
    )
    assert run("run", str(file))[:2] == (0, "(3, None)\n")
    assert run("run", str(file), "--x", "zz")[:2] == (0, "('zz', None)\n")


def test_the_environment_may_stand_behind_the_file(run: Cli, tmp_path: Path) -> None:
    file = tmp_path / "program_where.py"
    file.write_text(
        "import rekindle\napp = rekindle.App('x')\n"
        "@app.local_entrypoint()\ndef main():\n"
        "    print(rekindle.Environment.from_context().name)\n"
        "@app.local_entrypoint()\ndef own(env: str = 'mine'):\n    print(env)\n"
    )
    assert run("run", f"{file}::main", "--env", "staging")[:2] == (0, "staging\n")
    assert run("run", f"{file}::main", "-e", "staging")[:2] == (0, "staging\n")
    assert run("run", f"{file}::main")[:2] == (0, "main\n")
    assert run("run", f"{file}::own", "--env", "theirs")[:2] == (0, "theirs\n")


def test_words_go_to_a_function_that_takes_any(run: Cli, script: str) -> None:
    status, out, _ = run("run", f"{script}::words", "a", "--b", "-c", "--help")
    assert (status, out) == (0, "['a', '--b', '-c', '--help']\n")


def test_a_type_that_a_shell_cannot_give_is_named(run: Cli, script: str) -> None:
    status, _, err = run("run", f"{script}::odd", "--x", "1")
    assert status == 1
    assert "parameter 'x' is of type dict" in err


def test_async_entrypoints(run: Cli, script: str) -> None:
    assert run("run", f"{script}::later")[:2] == (0, "6\n")


def test_help_of_a_function_is_that_of_its_signature(run: Cli, script: str) -> None:
    status, out, _ = run("run", f"{script}::double", "--help")
    assert status == 0
    assert "Doubles a number." in out
    assert "--x INTEGER" in out
    assert "--phases" in out


def test_an_ambiguous_reference_lists_the_candidates(run: Cli, script: str) -> None:
    status, _, err = run("run", script)
    assert status == 1
    assert "several local entrypoints" in err
    assert "program.py::main  (local entrypoint)" in err


def test_an_unknown_name_is_named_with_the_nearest(run: Cli, script: str) -> None:
    status, _, err = run("run", f"{script}::duoble")
    assert status == 1
    assert "has no 'duoble'; did you mean 'double'?" in err
    assert "program.py::Thing.grow  (method)" in err


def test_one_colon_gets_a_hint(run: Cli, script: str) -> None:
    status, _, err = run("run", f"{script}:double")
    assert status == 1
    assert f"write two colons, {script}::double" in err


def test_a_missing_file_gets_a_hint(run: Cli, script: str) -> None:
    status, _, err = run("run", script.replace("program", "porgram"))
    assert status == 1
    assert f"did you mean '{script}'?" in err


@pytest.mark.parametrize(
    ("body", "out"),
    [
        ("@app.function()\ndef only():\n    return 'f'", "f\n"),
        (
            "@app.cls()\nclass C:\n    @rekindle.method()\n    def only(self):\n        return 'm'",
            "m\n",
        ),
        (
            "@app.function()\ndef f(): ...\n@app.local_entrypoint()\ndef e():\n    print('e')",
            "e\n",
        ),
    ],
)
def test_without_a_name_the_only_one_is_run(run: Cli, tmp_path: Path, body: str, out: str) -> None:
    file = tmp_path / "program_only.py"
    file.write_text(f"import rekindle\napp = rekindle.App('x')\n{body}\n")
    assert run("run", str(file))[:2] == (0, out)


def test_a_file_that_declares_nothing_is_named(run: Cli, tmp_path: Path) -> None:
    file = tmp_path / "program_empty.py"
    file.write_text("x = 1\n")
    status, _, err = run("run", str(file))
    assert status == 1
    assert "declares nothing to run" in err


def test_an_exception_of_the_import_is_shown_with_user_frames(run: Cli, tmp_path: Path) -> None:
    file = tmp_path / "program_broken.py"
    file.write_text("def f():\n    return 1 / 0\nf()\n")
    status, _, err = run("run", str(file))
    assert status == 1
    assert "ZeroDivisionError" in err
    assert "program_broken.py" in err
    assert "rekindle/sdk" not in err and "rekindle/cli" not in err


def test_a_script_named_like_a_library_module_does_not_hide_it(run: Cli, tmp_path: Path) -> None:
    import numbers

    file = tmp_path / "numbers.py"
    file.write_text(
        "import rekindle\napp = rekindle.App('x')\n@app.function()\ndef f(): return 1\n"
    )
    assert run("run", str(file))[:2] == (0, "1\n")
    assert sys.modules["numbers"] is numbers


def test_a_remote_exception_is_shown_with_both_tracebacks_cut_to_user_frames(
    run: Cli, script: str
) -> None:
    status, _, err = run("run", f"{script}::fails_remotely")
    assert status == 1
    assert "in inner" in err
    assert "ValueError: code 3" in err
    assert "in fails_remotely" in err
    assert "rekindle/sdk" not in err and "rekindle/cli" not in err
    assert "click" not in err


def test_a_local_exception_is_shown_with_user_frames(run: Cli, script: str) -> None:
    status, _, err = run("run", f"{script}::fails")
    assert status == 1
    assert "KeyError: 'mine'" in err
    assert "rekindle/sdk" not in err and "rekindle/cli" not in err


def test_everything_is_shown_on_request(
    run: Cli, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_TRACEBACK", "1")
    assert "rekindle/cli" in run("run", f"{script}::fails")[2]


def test_an_error_of_rekindle_is_one_line_and_a_hint(run: Cli, script: str) -> None:
    status, _, err = run("run", f"{script}::nests")
    assert status == 1
    lines = err.splitlines()
    assert lines[0].startswith("Error: app 'script' is running already")
    assert "program.py:" in lines[1]
    assert "REKINDLE_TRACEBACK=1" in lines[1]


def test_phases_are_shown_at_the_end(run: Cli, script: str) -> None:
    status, out, _ = run("run", "--phases", f"{script}::double", "--x", "4")
    assert status == 0
    assert out.splitlines()[0] == "8"
    assert "total ms" in out
    assert "execute" in out or "store_result" in out
    out = run("run", f"{script}::many", "--phases", "--n", "30")[1]
    assert "30 calls" in out
    assert "30 x double" in out


def test_a_strategy_can_be_asked_for(run: Cli, script: str, controller: FakeController) -> None:
    run("run", "--strategy", "cold", f"{script}::double", "--x", "4")
    assert controller.submitted[-1].strategy == "cold"
    status, _, err = run("run", "--strategy", "quick", f"{script}::double", "--x", "4")
    assert status == 2
    assert "quick" in err


def test_output_of_runners_is_shown(run: Cli, script: str, controller: FakeController) -> None:
    def speak() -> None:
        controller.log(controller.registered[-1].app_id, "from the runner")

    controller.before_run = speak
    assert run("run", f"{script}::double", "--x", "4")[1] == "from the runner\n8\n"


def test_the_source_of_the_script_travels(
    run: Cli, script: str, controller: FakeController
) -> None:
    run("run", f"{script}::double", "--x", "4")
    request = controller.registered[-1]
    function = request.functions[0]
    assert function.code == b""
    assert os.fsencode(script) in function.spec.program
    with zipfile.ZipFile(io.BytesIO(request.source.data)) as bundle:
        assert bundle.read(f"{Path(script).stem}.py") == Path(script).read_bytes()


def test_ctrl_c_says_so_and_ends_with_130(script: str, controller: FakeController) -> None:
    waits = Path(script).with_name("waits.py")
    waits.write_text(
        "import rekindle, time\napp = rekindle.App('x')\n"
        "@app.local_entrypoint()\ndef main():\n"
        # Short sleeps: Python notices a signal that comes just before a sleep when that has ended.
        "    print('here', flush=True)\n"
        "    for _ in range(600):\n        time.sleep(0.1)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", "from rekindle.cli.main import main; main()", "run", str(waits)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "REKINDLE_DIR": str(controller.directory)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "Stopping.\n"
    assert len(controller.closed) == 1


# ---- the other commands ------------------------------------------------------------------------


def test_version_and_help(run: Cli) -> None:
    from rekindle import __version__

    assert run("--version")[1] == f"rekindle {__version__}\n"
    status, out, _ = run("--help")
    assert status == 0
    for command in ("run", "up", "down", "status", "setup", "doctor", "snapshot", "bench"):
        assert f"\n  {command} " in out


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
