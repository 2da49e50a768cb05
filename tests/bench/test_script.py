"""What the scripts in bench/ have in common."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from lab import script
from lab.checks import Check

BENCH = Path(script.__file__).parent.parent


def test_results_go_to_a_directory_that_git_ignores_unless_told_otherwise() -> None:
    given = script.options("demo", "", [])
    assert given.json == Path("demo-results/demo.json")
    assert not given.quick and not given.check


def test_the_options_of_a_script(tmp_path: Path) -> None:
    arguments = ["--quick", "--check", "--results", str(tmp_path / "r")]
    given = script.options("demo", "", arguments)
    assert given.quick and given.check
    assert given.json == tmp_path / "r" / "demo.json"
    assert given.file("demo.png").parent.is_dir()
    assert script.options("demo", "", ["--json", "x.json"]).json == Path("x.json")


def test_a_promise_that_is_not_kept_fails_the_check_alone() -> None:
    promises = [script.Promise("S1", "fast", True), script.Promise("S2", "faster", False)]
    console = Console(file=io.StringIO(), width=100)
    assert script.verdict(console, promises, check=True) == 1
    assert script.verdict(console, promises, check=False) == 0
    assert script.verdict(console, promises[:1], check=True) == 0
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "S2  faster: not kept" in text


def test_a_script_of_which_nothing_is_promised_says_so_and_passes_its_check() -> None:
    console = Console(file=io.StringIO(), width=100)
    assert script.verdict(console, [], check=True) == 0
    assert "promises nothing of this" in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_was_not_measured_is_neither_kept_nor_fails_the_check() -> None:
    checks = {
        "S1": lambda figure: Check("fast", figure),
        "S2": lambda figure: Check("faster", None),
    }
    console = Console(file=io.StringIO(), width=100)
    assert script.verdict(console, script.checked(checks, True), check=True) == 0
    assert script.verdict(console, script.checked(checks, False), check=True) == 1
    assert script.verdict(console, script.checked(checks, None), check=True) == 0
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("S2  faster: not measured") == 3
    assert "promises nothing of this" not in text


def test_a_script_may_have_options_of_its_own() -> None:
    given = script.options(
        "demo", "", ["--way", "x"], add=lambda parser: parser.add_argument("--way")
    )
    assert given.own.way == "x"


@pytest.mark.parametrize("file", sorted(BENCH.glob("*.py")), ids=lambda file: file.stem)
def test_every_script_reads_the_options_that_all_have(file: Path) -> None:
    text = file.read_text()
    if file.stem == "gpu":  # it runs where nothing is installed: without the parts of the others
        assert all(f'"{option}"' in text for option in ("--quick", "--json", "--check"))
    else:
        assert re.search(rf'script\.options\(\s*"{file.stem}"', text)
