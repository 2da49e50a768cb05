"""``rekindle run``: references, arguments, output, failures."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.run_here import Cli
from tests.sdk.fake_controller import FakeController


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


def test_a_default_without_an_annotation_stays_what_it_is(run: Cli, tmp_path: Path) -> None:
    file = tmp_path / "program_defaults.py"
    file.write_text(
        "import enum, rekindle\nfrom typing import Any\napp = rekindle.App('x')\n"
        "class Mode(enum.Enum):\n    FAST = 1\n"
        "@app.local_entrypoint()\n"
        "def main(sizes=(1, 2), names=['a'], where={'k': 1}, raw=b'x', mode=Mode.FAST, none=None,\n"
        "         call=print, made: Any = dict, count=3):\n"
        "    print((sizes, names, where, raw, mode is Mode.FAST, none, call is print,\n"
        "           made is dict, count))\n"
    )
    kept = "((1, 2), ['a'], {'k': 1}, b'x', True, None, True, True, 3)\n"
    assert run("run", str(file))[:2] == (0, kept)
    given = kept.replace("(1, 2)", "'7'").replace(" 3)", " 4)")
    assert run("run", str(file), "--sizes", "7", "--count", "4")[:2] == (0, given)
    status, shown, _ = run("run", str(file), "--help")
    assert status == 0
    for name in ("SIZES", "NAMES", "WHERE", "RAW", "MODE", "NONE", "CALL", "MADE"):
        assert f"--{name.lower()} TEXT" in shown
    assert "--count INTEGER" in shown and "print" in shown


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
