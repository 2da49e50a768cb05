"""The script that puts figures into the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import markdown
from tests import scripts
from tests.bench.reports import report

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def script() -> Any:
    return scripts.load(ROOT / "docs/update_figures.py")


def test_figures_replace_what_is_between_the_marks(script: Any, tmp_path: Path) -> None:
    readme, figures = tmp_path / "README.md", tmp_path / "demo.md"
    readme.write_text(f"before\n\n{script.START}\nstale\n{script.END}\n\nafter\n")
    figures.write_text(markdown.of_report(report()))
    assert script.main([str(figures), str(readme)]) == 0
    once = readme.read_text()
    assert once.startswith("before\n") and once.endswith("\nafter\n")
    assert "stale" not in once and "| restore |" in once
    assert script.main([str(figures), str(readme)]) == 0
    assert readme.read_text() == once


def test_the_readme_has_the_marks(script: Any) -> None:
    text = (ROOT / "README.md").read_text()
    assert "| fork |" in script.replaced(text, "| fork |")


@pytest.mark.parametrize("text", ["", "START END END", "END START"])
def test_missing_marks_are_refused(script: Any, text: str) -> None:
    text = text.replace("START", script.START).replace("END", script.END)
    with pytest.raises(ValueError, match="once"):
        script.replaced(text, "x")


def test_wrong_use_is_status_2(script: Any) -> None:
    assert script.main([]) == 2
