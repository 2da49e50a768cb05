"""The guide for those who come from Modal: its program runs, and what it says is missing is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rekindle
from rekindle.sdk import unsupported
from tests.e2e.harness import Home

GUIDE = (Path(__file__).parents[2] / "docs" / "coming-from-modal.md").read_text(encoding="utf-8")
MISSING = " ".join(row for row in GUIDE.splitlines() if row.startswith("| **not there"))


def test_its_program_runs(shared: Home) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", GUIDE, re.M | re.S)
    said = shared.run(shared.script(program)).out.splitlines()
    assert said == ["Hello, you", "['Hello, Anna', 'Hello, Ben']", "Hello, Carl"]


@pytest.mark.parametrize("name", sorted({*unsupported.NAMES} - {"web_endpoint"}))
def test_a_name_that_is_to_come_is_in_its_tables(name: str) -> None:
    assert re.search(rf"`@?{name}`", MISSING)


def test_what_it_says_a_call_has_is_there() -> None:
    (row,) = re.findall(r"^## Calls by.*?^\| \*\*the same\*\* \| (.*?)$", GUIDE, re.M | re.S)
    names = re.findall(r"`([a-z]\w*)(?:\.get)?(?:\(.*?\))?`", row)
    assert len(names) >= 6
    for name in names:
        assert hasattr(rekindle.FunctionCall, name) or hasattr(rekindle.FunctionCall("fc-1"), name)


@pytest.mark.parametrize("name", re.findall(r"`([A-Z]\w+)` is `[A-Z]\w+`", GUIDE))
def test_another_name_of_an_error_is_that_error(name: str) -> None:
    same = re.search(rf"`{name}` is `([A-Z]\w+)`", GUIDE)
    assert same and getattr(rekindle.exception, name).__name__ == same[1]
