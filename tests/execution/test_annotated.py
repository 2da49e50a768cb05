"""Annotations that name what is not there, as they are evaluated late from Python 3.14 on."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest

import rekindle
from rekindle.execution import annotated
from rekindle.sdk import class_parameters, fingerprint

#: Without ``from __future__ import annotations``, which makes texts of them in each Python.
_PROGRAM = """
import rekindle

def function(a: Missing, b: int = 2) -> Missing:
    return a

class Model:
    name: str = rekindle.parameter()
    other: Missing = None
"""


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """What 3.14 does, for a Python before it."""
    if sys.version_info >= (3, 14):
        return
    real_signature, real_get = inspect.signature, inspect.get_annotations

    def signature(function: Any, *, annotation_format: str = "value") -> inspect.Signature:
        if annotation_format == "value" and function.__module__ == "__main__":
            raise NameError("name 'Missing' is not defined")
        return real_signature(function)

    def get_annotations(of: Any, *, format: str = "value", **by_inspect: Any) -> dict[str, Any]:
        if format == "value" and not by_inspect and of.__module__ == "__main__":
            raise NameError("name 'Missing' is not defined")
        return real_get(of)

    monkeypatch.setattr(inspect, "signature", signature)
    monkeypatch.setattr(inspect, "get_annotations", get_annotations)
    monkeypatch.setattr(annotated, "_names", {"format": "forwardref"})
    monkeypatch.setattr(annotated, "_texts", {"format": "string"})
    monkeypatch.setattr(annotated, "_for_signature", {"annotation_format": "forwardref"})


def _program(text: str = _PROGRAM) -> dict[str, Any]:
    if sys.version_info < (3, 14):
        text = "from __future__ import annotations\n" + text
    made: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "program.py", "exec", dont_inherit=True), made)
    return made


@pytest.mark.usefixtures("late")
def test_nothing_that_looks_at_user_code_fails_by_them() -> None:
    program = _program()
    assert list(annotated.signature(program["function"]).parameters) == ["a", "b"]
    assert class_parameters.annotation_of(program["Model"], "name") is str
    assert class_parameters.annotation_of(program["Model"], "other") is None
    app = rekindle.App("late")
    app.function(serialized=True)(program["function"])
    app.cls(serialized=True)(program["Model"])


@pytest.mark.usefixtures("late")
def test_an_edit_of_them_is_another_code() -> None:
    before = _program()
    after = _program(_PROGRAM.replace("Missing", "Other"))
    for name in ("function", "Model"):
        assert fingerprint.digest(before[name]) == fingerprint.digest(before[name])
        assert fingerprint.digest(before[name]) != fingerprint.digest(after[name])
