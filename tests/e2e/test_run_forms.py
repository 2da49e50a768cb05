"""What ``rekindle run`` runs (a file, a module, standard input) and what its options do."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import textwrap
from pathlib import Path

import pytest

from tests.e2e.harness import COMMAND, PATIENCE_S, Ended, Home

_PROGRAM = """
import rekindle
app = rekindle.App("forms")

@app.function()
def shout(text: str = "hello") -> str:
    print("shouting", flush=True)
    return text.upper() + "!"

@app.function()
def raw() -> bytes:
    return b"\\x00\\xff"

@app.function()
def count() -> dict:
    return {"n": 1}

@app.local_entrypoint()
def main(name: str = "nobody"):
    print("app", app.name, "name", name)
    return shout.remote(name)
"""
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d "


def on_stdin(home: Home, text: str, *argv: str, status: int = 0) -> Ended:
    """``rekindle ARGV`` with a program on standard input."""
    ended = subprocess.run(
        [COMMAND, *argv],
        input=text,
        cwd=home.scripts,
        env=home.environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    found = Ended(ended.returncode, ended.stdout, ended.stderr)
    assert found.status == status, str(found)
    return found


def a_package(home: Home) -> None:
    directory = home.scripts / "formed"
    directory.mkdir(exist_ok=True)
    (directory / "__init__.py").write_text("")
    (directory / "words.py").write_text("GREETING = 'ahoy'\n")
    (directory / "program.py").write_text(
        _PROGRAM + "\nfrom . import words\n\n@app.function()\ndef ahoy():\n"
        "    return words.GREETING, __name__\n"
    )


def test_a_module_is_run_by_its_name_with_its_package(shared: Home) -> None:
    a_package(shared)
    said = shared.rekindle("run", "-q", "-m", "formed.program").out
    assert said == "app forms name nobody\nshouting\n"
    said = shared.rekindle("run", "-m", "formed.program::ahoy").out
    assert said == "('ahoy', 'formed.program')\n"
    said = shared.rekindle("run", "-m", "formed.program::shout", "--text", "x").out
    assert said == "shouting\nX!\n"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("formed.progam", "there is no module 'formed.progam'"),
        ("formed/program.py", "a file needs no -m"),
        ("formed.program:main", "write two colons, formed.program::main"),
        ("formed.program::shuot", "formed.program has no 'shuot'; did you mean 'shout'?"),
    ],
)
def test_a_module_that_cannot_be_meant_says_why(shared: Home, reference: str, said: str) -> None:
    a_package(shared)
    assert said in shared.rekindle("run", "-m", reference, status=1).err


def test_a_dotted_name_without_m_is_told_of_it(shared: Home) -> None:
    a_package(shared)
    err = shared.rekindle("run", "formed.program", status=1).err
    assert "did you mean formed/program.py, or -m formed.program?" in err


def test_a_program_comes_on_standard_input(shared: Home) -> None:
    (shared.scripts / "beside.py").write_text("WORD = 'beside'\n")
    text = _PROGRAM + (
        "import beside\n@app.function()\ndef where():\n    return beside.WORD, __name__\n"
    )
    assert on_stdin(shared, text, "run", "-").out == "app forms name nobody\nshouting\n"
    assert on_stdin(shared, text, "run", "-::where").out == "('beside', 'stdin')\n"
    said = on_stdin(shared, text, "run", "-::shout", "--text", "in").out
    assert said == "shouting\nIN!\n"
    failing = _PROGRAM + "\n@app.function()\ndef fails():\n    raise KeyError('mine')\n"
    err = on_stdin(shared, failing, "run", "-::fails", status=1).err
    assert "KeyError: 'mine'" in err and "raise KeyError('mine')" in err
    err = on_stdin(shared, text, "run", "-::absent", status=1).err
    assert "- has no 'absent'" in err and "-::main  (local entrypoint)" in err


def test_the_same_text_on_standard_input_finds_its_snapshot_again(home: Home) -> None:
    text = """
import rekindle
app = rekindle.App("snapped")

@app.cls(enable_memory_snapshot=True)
class Held:
    @rekindle.enter(snap=True)
    def load(self):
        self.value = 7

    @rekindle.method()
    def get(self):
        return self.value
"""
    on_stdin(home, text, "run", "-")
    (first,) = home.snapshots()
    on_stdin(home, text, "run", "-")
    assert [one["key"] for one in home.snapshots()] == [first["key"]]


def test_a_program_on_standard_input_can_stay(shared: Home) -> None:
    said = on_stdin(shared, _PROGRAM, "deploy", "-", "--name", "from-stdin").out
    assert "Deployed from-stdin, version 1" in said
    call = "import rekindle\nprint(rekindle.Function.from_name('from-stdin', 'shout').remote('a'))"
    assert shared.python(shared.script(call, "call_it.py")).out == "A!\n"
    shared.rekindle("app", "stop", "-y", "from-stdin")


def test_what_cannot_be_read_twice_is_refused(shared: Home) -> None:
    assert "cannot be saved again" in on_stdin(shared, "", "serve", "-", status=1).err
    assert "is the shell's" in on_stdin(shared, "", "shell", "-", status=1).err


def test_an_app_runs_under_another_name(shared: Home) -> None:
    file = shared.script(_PROGRAM, "forms.py")
    out = shared.run("-n", "renamed", f"{file}::shout").out
    assert out == "shouting\nHELLO!\n"
    assert "shouting" in shared.rekindle("logs", "renamed").out
    # A parameter of the program's own has the option behind FILE.
    assert "name me\n" in shared.run("-n", "renamed", file, "--name", "me").out
    assert "the app name" in shared.run("-n", "no such name", file, status=1).err


def test_what_is_returned_is_written_to_a_file(shared: Home) -> None:
    file = shared.script(_PROGRAM, "forms.py")
    target = shared.scripts / "result"
    ended = shared.run("-w", str(target), file, "--name", "é")
    assert target.read_text() == "É!" and "É!" not in ended.out
    assert f"Wrote 3 bytes to {target}." in ended.err
    shared.run(f"{file}::raw", "-w", str(target))
    assert target.read_bytes() == b"\x00\xff"


@pytest.mark.parametrize(
    ("reference", "target", "said"),
    [
        ("count", "result.json", "count returned a value of type dict; only str and bytes"),
        ("count", "absent/result", "there is no directory absent"),
        ("count", ".", "that is a directory"),
    ],
)
def test_what_cannot_be_written_is_an_error(
    shared: Home, reference: str, target: str, said: str
) -> None:
    file = shared.script(_PROGRAM, "forms.py")
    ended = shared.run("-w", target, f"{file}::{reference}", status=1)
    assert said in ended.err and not (shared.scripts / "result.json").exists()


def test_lines_have_the_time_when_they_were_written(shared: Home) -> None:
    file = shared.script(
        """
        import rekindle
        app = rekindle.App("timed")

        @app.function()
        def parts():
            print("one", end="", flush=True)
            print(" line", flush=True)
            print("next", flush=True)
        """,
        "timed.py",
    )
    out = shared.run("--timestamps", f"{file}::parts").out
    assert re.fullmatch(f"{_TIME}one line\n{_TIME}next\n", out), out


def test_help_names_the_forms(shared: Home) -> None:
    text = shared.rekindle("run", "--help").out
    for option in ("-m", "--name", "--write-result", "--timestamps"):
        assert option in text


def test_json_of_a_program_is_its_own(shared: Home, tmp_path: Path) -> None:
    """``-w`` and ``json.dumps`` in an entrypoint: how a script hands on what it made."""
    file = shared.script(
        """
        import json
        import rekindle
        app = rekindle.App("dumps")

        @app.function()
        def square(x):
            return x * x

        @app.local_entrypoint()
        async def main():
            return json.dumps([x async for x in square.map.aio(range(3))])
        """
    )
    target = tmp_path / "squares.json"
    shared.run("-q", "-w", str(target), file)
    assert json.loads(target.read_text()) == [0, 1, 4]


def test_a_program_runs_from_a_directory_that_runners_do_not_have(shared: Home) -> None:
    """Each of them has a /dev/shm of its own."""
    text = """
        import os
        import rekindle
        app = rekindle.App("in_memory")

        @app.function()
        def where() -> str:
            return os.getcwd()
    """
    with tempfile.TemporaryDirectory(prefix="rk-forms-", dir="/dev/shm") as name:
        file = Path(name, "in_memory.py")
        file.write_text(textwrap.dedent(text))
        ended = subprocess.run(
            [COMMAND, "run", file.name],
            cwd=name,
            env=shared.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (0, "/\n"), ended.stderr
