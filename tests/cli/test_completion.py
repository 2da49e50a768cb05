"""Shell completion, and the help in groups."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import _MAIN, environ, rekindle


def completed(directory: Path, *words: str) -> set[str]:
    """What a shell offers for the last word."""
    ended = subprocess.run(
        [sys.executable, "-c", _MAIN],
        env=environ(
            directory,
            COMP_WORDS=" ".join(("rekindle", *words)),
            COMP_CWORD=str(len(words)),
            _REKINDLE_COMPLETE="bash_complete",
        ),
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ended.stdout.split())


def test_commands_files_and_the_names_in_a_file_are_completed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "raise SystemExit('was run')\n"
        "@app.function()\ndef double(): ...\n"
        "def helper(): ...\n"
        "@app.cls()\nclass Model:\n    @method()\n    def draw(self): ...\n"
    )
    assert completed(tmp_path, "se") == {"plain,serve", "plain,secret", "plain,setup"} & completed(
        tmp_path, "s"
    )
    assert completed(tmp_path, "run", "ap") == {"file,ap"}
    assert completed(tmp_path, "run", "app.py::") == {
        "plain,app.py::double",
        "plain,app.py::Model.draw",
    }


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_rekindle(tmp_path: Path, shell: str) -> None:
    assert f"_REKINDLE_COMPLETE={shell}_complete" in rekindle(tmp_path, "completion", shell).stdout


def test_an_unknown_shell_is_refused_with_those_there_are(tmp_path: Path) -> None:
    ended = rekindle(tmp_path, "completion", status=1, SHELL="/bin/ksh")
    assert "bash, zsh, fish" in ended.stderr


def test_help_has_every_command_once_under_a_group(tmp_path: Path) -> None:
    out = rekindle(tmp_path, "--help").stdout
    groups = [line for line in out.splitlines() if line.endswith(":") and line[0] != " "]
    assert groups[-5:] == [
        "Programs and apps:",
        "Objects:",
        "The instance:",
        "This machine:",
        "Measure:",
    ]
    for name in ("run", "serve", "container", "completion", "tune"):
        assert out.count(f"\n  {name} ") == 1


def test_a_program_off_a_terminal_loads_nothing_to_show_it(tmp_path: Path) -> None:
    code = "import rekindle.cli.run, rekindle.cli.deploy, sys; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    loaded = set(ended.stdout.split())
    assert not loaded & {"rich", "rekindle.cli.waiting", "rekindle.cli.screen"}
