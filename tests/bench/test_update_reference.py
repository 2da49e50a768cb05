"""docs/reference.md is what the docstrings make; the index names every guide."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import rekindle
from tests import scripts

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def script() -> Any:
    return scripts.load(DOCS / "update_reference.py")


def test_the_reference_is_current(script: Any) -> None:
    said = "docs/reference.md is out of date: run `.venv/bin/python docs/update_reference.py`"
    assert script.text() == script.PLACE.read_text(encoding="utf-8"), said


def test_a_reference_that_is_not_current_is_told(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "PLACE", tmp_path / "reference.md")
    assert script.main(["--check"]) == 1
    assert "not current" in capsys.readouterr().err
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    assert script.main(["--other"]) == 2


def test_the_reference_has_every_public_name(script: Any) -> None:
    headings = re.findall(r"^###+ ([\w.]+)", script.text(), re.M)
    assert {*rekindle.__all__} - {"__version__", "exception", "gpu", "Error"} <= {*headings}
    assert len(headings) == len(set(headings))
    for name in ("Function.remote", "FunctionCall.gather", "Dict.objects.create", "gpu.ready"):
        assert name in headings


def test_a_name_that_is_in_no_chapter_is_refused(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekindle, "__all__", [*rekindle.__all__, "newcomer"])
    with pytest.raises(ValueError, match="newcomer"):
        script.text()


@pytest.mark.parametrize(
    "guide", sorted(path.name for path in DOCS.glob("*.md") if path.name != "README.md")
)
def test_the_index_leads_to_every_guide(guide: str) -> None:
    assert f"]({guide})" in (DOCS / "README.md").read_text(encoding="utf-8")
