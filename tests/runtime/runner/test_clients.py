"""Which handlers at fork copies of a template can do without."""

from __future__ import annotations

from typing import Any

import pytest

from rekindle.forkserver import forking
from rekindle.runtime.runner import clients
from rekindle.sdk.connection import background
from rekindle.sdk.local import session


def of_a_user() -> None:
    """A handler that user code has registered."""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: list[Any] = [session._forget_in_child, background._forget_in_child, of_a_user]
    monkeypatch.setattr(forking, "_after_in_child", handlers)
    for module, name in clients._STATE:
        monkeypatch.setattr(f"{module}.{name}", None)


def test_where_nothing_was_connected_ours_have_nothing_to_do() -> None:
    assert clients.needless_handlers() == [session._forget_in_child, background._forget_in_child]
    forking.stop_tracking(clients.needless_handlers())
    assert forking.tracked() == [of_a_user]


@pytest.mark.parametrize(("module", "name"), clients._STATE)
def test_what_user_code_has_connected_is_forgotten_in_copies(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{module}.{name}", {"something": 1})
    assert clients.needless_handlers() == []
