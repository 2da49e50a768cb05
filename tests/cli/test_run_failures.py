"""``rekindle run``: how what fails is shown, with whose frames, and with which status."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.run_here import Cli


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
