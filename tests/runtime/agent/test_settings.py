"""What an operator may set on an agent."""

from __future__ import annotations

import pytest

from rekindle.exception import InvalidError
from rekindle.runtime.agent import settings


@pytest.mark.parametrize(
    ("text", "bytes_"), [("400M", 400 << 20), ("1.5 GiB", 3 << 29), ("0", 0), ("1000", 1000)]
)
def test_what_arrives_is_bounded_by_a_size_written_as_other_budgets_are(
    monkeypatch: pytest.MonkeyPatch, text: str, bytes_: int
) -> None:
    monkeypatch.setenv("REKINDLE_LAZY_BYTES", text)
    assert settings.lazy_bytes() == bytes_


def test_what_is_no_size_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REKINDLE_LAZY_BYTES", "some")
    with pytest.raises(InvalidError, match="REKINDLE_LAZY_BYTES: 'some' is no size"):
        settings.lazy_bytes()
