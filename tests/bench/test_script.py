"""What the scripts in bench/ have in common."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from lab import script


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
