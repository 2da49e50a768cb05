"""Whether a process was a client of an instance, which its copies then have to forget."""

from __future__ import annotations

import pytest

from rekindle.runtime.runner import clients
from rekindle.sdk.connection import background  # noqa: F401 - has such state
from rekindle.sdk.local import session  # noqa: F401 - has such state


@pytest.fixture(autouse=True)
def nothing_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in clients._STATE:
        monkeypatch.setattr(f"{module}.{name}", None)


def test_where_nothing_was_connected_there_is_nothing_to_forget() -> None:
    assert not clients.was_client()


@pytest.mark.parametrize(("module", "name"), clients._STATE)
def test_what_user_code_has_connected_is_to_be_forgotten_in_copies(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{module}.{name}", {"something": 1})
    assert clients.was_client()
